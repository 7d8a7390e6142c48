package dispatch

import (
	"runtime"
	"sync/atomic"
)

// gate is where one goroutine waits for others to change something; those pay one atomic load while nobody waits.
type gate struct {
	waits atomic.Bool
	wake  chan struct{}
}

func newGate() gate { return gate{wake: make(chan struct{}, 1)} }

// wait returns when changed holds. Whoever makes it hold calls open afterwards. Before it sleeps, it looks again spins
// times and lets others run in between: where changes come every few nanoseconds, a sleep costs more than all of them.
func (g *gate) wait(spins int, changed func() bool) {
	for range spins {
		if changed() {
			return
		}
		runtime.Gosched()
	}
	for !changed() {
		g.waits.Store(true)
		if changed() {
			g.waits.Store(false)
			return
		}
		<-g.wake
	}
}

// open wakes the goroutine that waits, if there is one.
func (g *gate) open() {
	if g.waits.Load() {
		g.opened()
	}
}

func (g *gate) opened() {
	if g.waits.CompareAndSwap(true, false) {
		select {
		case g.wake <- struct{}{}:
		default: // it has not used up the last one
		}
	}
}
