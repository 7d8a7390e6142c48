// Package plan is the arithmetic of a run: how many workers, how large a chunk, how wide a stream's window. It starts
// no goroutine, reads no clock and does no I/O.
package plan

import "time"

// Workers returns how many workers a request for n means on a machine with cpus CPUs. As in joblib, -1 is all CPUs,
// -2 all but one; the result is never below 1, so that a program that says -3 still runs on two CPUs. Zero, which
// runs refuse, is 1 here.
func Workers(n, cpus int) int {
	if n < 0 {
		n = cpus + 1 + n
	}
	return max(n, 1)
}

const (
	// InPlace is the work worth one chunk to a goroutine. Claiming costs it some 20 ns and the clock 60, so that at
	// 50 µs both vanish, while an uneven end costs no more than 50 µs either.
	InPlace = 50 * time.Microsecond
	// maxGrowth bounds how much larger than the last one a chunk may be: one measurement may have been luck.
	maxGrowth = 16
)

// Pace sizes the chunks of one worker from how long its last one took. Chunks start at one call, so that the first of a
// few slow calls holds back no other, and jump to what would have lasted Target.
//
// The zero Pace is not ready: set Target, or Fixed.
type Pace struct {
	Target time.Duration // how long a chunk should last
	Fixed  int           // chunks of exactly this size, however long they last, when positive
	Max    int           // no chunk is larger, when positive
	Each   time.Duration // how long a call of the last chunk took; 0 before the first
	size   int
}

// Next returns how many of the remaining calls the worker should claim: at least 1 and, but for a Fixed size, at most
// the share that leaves every one of the workers another chunk as large. Near the end that share is not worth a claim
// any more; the least is a 64th of the target.
func (p *Pace) Next(remaining, workers int) int {
	if p.Fixed > 0 {
		return min(p.Fixed, remaining)
	}
	return min(remaining, max(1, min(p.size, max(remaining/(2*workers), p.size/64))))
}

// Took tells that a chunk of n calls took d.
func (p *Pace) Took(n int, d time.Duration) {
	if n <= 0 {
		return
	}
	p.Each = max(d/time.Duration(n), 1)
	p.size = int(min(p.Target/p.Each, time.Duration(n)*maxGrowth))
	if p.Max > 0 {
		p.size = min(p.size, p.Max)
	}
}

// Size is the chunk that Next would return were there no end of calls, at least 1.
func (p *Pace) Size() int {
	if p.Fixed > 0 {
		return p.Fixed
	}
	return max(1, p.size)
}

// Block is how many calls of a stream are stored together; a stream's chunk does not cross it.
const Block = 64

const (
	// MaxWindow bounds a stream's automatic window.
	MaxWindow = 2048
	// ahead is the work that a stream's window holds for each worker: long enough for the ends of the stream, which
	// share the CPUs with the workers, to get their turns in time.
	ahead = 2 * time.Millisecond
)

// Window returns how many inputs of a stream may be drawn whose results are not yet consumed, when each call takes so
// long: twice the workers while calls are slow, so that drawing stays lazy, and more when they are fast. Zero is unknown.
func Window(workers int, each time.Duration) int {
	if each <= 0 {
		return 2 * workers
	}
	return max(2*workers, int(min(ahead*time.Duration(workers)/each, MaxWindow)))
}
