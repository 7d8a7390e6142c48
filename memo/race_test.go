//go:build race

package memo

// slack is how many allocations a test of none lets pass: the race detector makes pools forget.
const slack = 10.0
