// Package lib is another package than the one that is remembered.
package lib

// Pair is a result.
type Pair struct{ Once, Twice int }

// Add adds.
func Add(a, b int) int { return a + b }
