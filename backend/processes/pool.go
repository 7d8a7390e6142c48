package processes

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/gojoblib/parallel/internal/child"
)

// pool is the workers of one kind.
type pool struct {
	Options
	setup child.Setup

	mu   sync.Mutex
	idle []*process // the last to be idle comes last
	told bool       // what the sandbox lacks was said
	shut bool       // none is kept any more
	ends []*process // those that are asked to end, and have not
	most int        // how many are kept; 0: any number
}

// pools are all pools of the program, by what their workers are like.
var (
	poolsMu sync.Mutex
	pools   = map[[sha256.Size]byte]*pool{}
)

// poolOf returns the pool of workers as o says.
func poolOf(o Options, setup child.Setup) *pool {
	key := fmt.Sprint(o.MaxTasks, o.MemoryLimit, o.IdleTimeout, o.Grace, o.GOMAXPROCS) + fmt.Sprintf("%q%q", o.Env, setup.Init)
	if o.Sandbox != nil {
		key += fmt.Sprintf("%q", []any{o.Sandbox.Read, o.Sandbox.Write}) + fmt.Sprint(o.Sandbox.Network, o.Sandbox.Exec, o.Sandbox.Strict)
	}
	sum := sha256.Sum256([]byte(key))
	poolsMu.Lock()
	defer poolsMu.Unlock()
	p := pools[sum]
	if p == nil {
		p = &pool{Options: o, setup: setup}
		pools[sum] = p
	}
	return p
}

// share is how many CPUs a worker of a run with n workers uses.
func (p *pool) share(n int) int {
	if p.GOMAXPROCS > 0 {
		return p.GOMAXPROCS
	}
	return max(1, runtime.GOMAXPROCS(0)/n)
}

// lend returns a worker for a run that wants n in all.
func (p *pool) lend(n int) (*carrier, error) {
	cpus := p.share(n)
	for {
		p.mu.Lock()
		last := len(p.idle) - 1
		if last < 0 {
			p.mu.Unlock()
			w, err := start(p, cpus)
			if err != nil {
				return nil, err
			}
			return newCarrier(w), nil
		}
		w := p.idle[last]
		p.idle = p.idle[:last]
		p.mu.Unlock()
		w.rest.Stop()
		if w.alive() {
			if !w.arrived {
				w.mu.Lock()
				w.await()
				w.mu.Unlock()
			}
			if w.cpus != cpus {
				w.cpus = cpus
				w.share(cpus)
			}
			return newCarrier(w), nil
		}
		w.end()
	}
}

// giveBack keeps a worker for the next run.
func (p *pool) giveBack(w *process) {
	keep := p.IdleTimeout
	if keep == 0 {
		keep = 5 * time.Minute
	}
	if keep < 0 || p.MaxTasks > 0 && w.tasks >= p.MaxTasks || w.memory.leaks || !w.alive() {
		w.end()
		return
	}
	if !w.arrived { // nobody looks
		w.mu.Lock()
		w.late.Stop()
		w.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut || p.most > 0 && len(p.idle) >= p.most {
		go w.end()
		return
	}
	w.rest = time.AfterFunc(keep, func() { p.retire(w) })
	p.idle = append(p.idle, w)
	if !w.alive() { // since a moment ago: nobody will take it
		w.rest.Reset(0)
	}
}

// retire ends a worker if it is idle.
func (p *pool) retire(w *process) {
	p.mu.Lock()
	at := slices.Index(p.idle, w)
	if at >= 0 {
		p.idle = slices.Delete(p.idle, at, at+1)
	}
	p.mu.Unlock()
	if at >= 0 {
		w.rest.Stop()
		w.end()
	}
}

// closeIdle ends all idle workers and waits for them.
func closeIdle() {
	poolsMu.Lock()
	all := slices.Collect(maps.Values(pools))
	poolsMu.Unlock()
	var ending sync.WaitGroup
	for _, p := range all {
		ending.Go(p.endIdle)
	}
	ending.Wait()
}

// endIdle ends the idle workers, and waits for them and for those that are ending.
func (p *pool) endIdle() {
	p.mu.Lock()
	idle, others := p.idle, slices.Clone(p.ends)
	p.idle = nil
	p.mu.Unlock()
	var ending sync.WaitGroup
	for _, w := range others {
		ending.Go(func() { <-w.released })
	}
	for _, w := range idle {
		w.rest.Stop()
		ending.Go(func() {
			w.end()
			<-w.released
		})
	}
	ending.Wait()
}

// free ends the pool: those that are idle, and those that are given back.
func (p *pool) free() {
	p.mu.Lock()
	p.shut = true
	p.mu.Unlock()
	p.endIdle()
}

// warn says, once, what the kernel cannot enforce of the sandbox.
func (p *pool) warn(missing string) {
	p.mu.Lock()
	first := !p.told
	p.told = true
	p.mu.Unlock()
	if missing != "" && first {
		fmt.Fprintf(os.Stderr, "parallel: the sandbox of the worker processes is not complete; this kernel does not enforce: %.500q\n", missing)
	}
}
