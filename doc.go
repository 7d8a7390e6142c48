// Package parallel runs function calls in parallel.
package parallel
