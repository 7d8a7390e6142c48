// Package dispatch carries out runs: all of their concurrency is here, and none of it anywhere else. It never looks at
// what a call computes.
//
// One call, walked through the files:
//
//	run.go      Do numbers the calls and hires workers; they claim chunks from one counter, or from what came back
//	budget.go   how many workers a run may have: the program's slots, shared by nested runs
//	thread.go   a worker in this process: claim, run in place, settle; survives panics and Goexit
//	watch.go    the look-out over a thread's call where there is a Timeout
//	carrier.go  a worker elsewhere: encode a batch, send, take in news; survives its loss
//	pool.go     slots that several runs share, in turns, and calls lend while they wait
//	open.go     an endless run whose calls are put in one by one: single calls on a pool
//	memo.go     calls whose results are known, or that somebody else makes
//	failure.go  what a failed attempt means: tried again, kept, or the stop's own doing
//	stream.go   an endless run: a feeder before it, a consumer behind it, a window between them
//	gate.go     how those two wait
//	event.go    what can be listened to, and the goroutine that tells it
//	hearsay.go  what there is to tell of calls elsewhere
//	count.go    what a run counts: how far it has come, where its time went
//
// Whoever declares the calls implements [Work]: it makes them in place, or turns them into bytes and back. Results go
// where Work keeps them, each to a place of its own; failures come back in one error, in the order of the calls.
package dispatch
