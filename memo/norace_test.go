//go:build !race

package memo

// slack is how many allocations a test of none lets pass: a collection may empty a pool meanwhile.
const slack = 1.0
