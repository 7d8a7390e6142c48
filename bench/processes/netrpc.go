package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/rpc"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// inFlight is how many calls the contenders over net/rpc have under way, over all workers.
const inFlight = 32

// patience is how long a worker may take to start or to end.
const patience = 10 * time.Second

// service is what a worker over net/rpc offers.
type service struct{ one sync.Mutex }

// Cube is cube.
func (*service) Cube(x int, out *int) (err error) {
	*out, err = cube(context.Background(), x)
	return err
}

// Describe is describe.
func (*service) Describe(s string, out *Record) (err error) {
	*out, err = describe(context.Background(), s)
	return err
}

// Spin is spin, one at a time, for a worker is one: two that spin at once would both be done when one is.
func (s *service) Spin(x int, out *int) (err error) {
	s.one.Lock()
	defer s.one.Unlock()
	*out, err = spin(context.Background(), x)
	return err
}

// Sum is sum.
func (*service) Sum(xs []float64, out *float64) (err error) {
	*out, err = sum(context.Background(), xs)
	return err
}

// Double is double.
func (*service) Double(xs []float64, out *[]float64) (err error) {
	*out, err = double(context.Background(), xs)
	return err
}

// rpcPool is a pool whose workers are reached by clients, under the name of their service.
func rpcPool(clients []*rpc.Client, name string, close func() error) *pool {
	cubes := over[int, int](clients, name+".Cube")
	return &pool{
		cubes:   cubes,
		dynamic: cubes, // every call names its function anyway
		spins:   over[int, int](clients, name+".Spin"),
		records: over[string, Record](clients, name+".Describe"),
		sums:    over[[]float64, float64](clients, name+".Sum"),
		doubles: over[[]float64, []float64](clients, name+".Double"),
		close:   close,
	}
}

// over calls method for every element: goroutines, each with a client of its own choice, take the next element when
// they have the last result.
func over[A, R any](clients []*rpc.Client, method string) func([]A) ([]R, error) {
	return func(in []A) ([]R, error) {
		out := make([]R, len(in))
		if len(in) == 1 {
			return out, clients[0].Call(method, in[0], &out[0])
		}
		errs := make([]error, min(inFlight, len(in)))
		var claimed atomic.Int64
		var failed atomic.Bool
		var wg sync.WaitGroup
		for g := range errs {
			wg.Go(func() {
				client := clients[g%len(clients)]
				for !failed.Load() {
					i := int(claimed.Add(1)) - 1
					if i >= len(in) {
						return
					}
					if errs[g] = client.Call(method, in[i], &out[i]); errs[g] != nil {
						failed.Store(true)
					}
				}
			})
		}
		wg.Wait()
		return out, errors.Join(errs...)
	}
}

// netRPCSocket is the environment variable that makes this program a worker of netRPC, and tells it where to call.
const netRPCSocket = "PARALLEL_BENCH_NETRPC"

// netRPC is net/rpc, with gob, over Unix sockets to copies of this program.
func netRPC() (_ *pool, err error) {
	dir, err := os.MkdirTemp("", "processes")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir) // connections outlive it
	path := filepath.Join(dir, "s")
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	if err := listener.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var clients []*rpc.Client
	var children []*exec.Cmd
	end := func() error {
		var errs []error
		for _, c := range clients {
			errs = append(errs, c.Close()) // its worker ends by that
		}
		for _, c := range children {
			errs = append(errs, wait(c))
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, end())
		}
	}()
	for range workers {
		c := exec.Command(self)
		c.Env = append(os.Environ(), share(), netRPCSocket+"="+path)
		c.Stderr = os.Stderr
		if err := c.Start(); err != nil {
			return nil, err
		}
		children = append(children, c)
	}
	for range workers {
		conn, err := listener.Accept()
		if err != nil {
			return nil, err
		}
		clients = append(clients, rpc.NewClient(conn))
	}
	return rpcPool(clients, "Tasks", end), nil
}

// share gives each worker its share of the CPUs, as this project does with its own: their throughput gains a fifth by it.
func share() string { return fmt.Sprintf("GOMAXPROCS=%d", max(1, runtime.GOMAXPROCS(0)/workers)) }

// wait waits for a process that was told to end, and ends it when it will not.
func wait(c *exec.Cmd) error {
	late := time.AfterFunc(patience, func() { _ = c.Process.Kill() }) // Wait says that it was killed
	defer late.Stop()
	return c.Wait()
}

// netRPCWorker serves calls until its parent hangs up or is gone.
func netRPCWorker(path string) error {
	signal.Ignore(os.Interrupt) // the parent's business
	conn, err := net.Dial("unix", path)
	if err != nil {
		return fmt.Errorf("worker over net/rpc: %w", err)
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Tasks", &service{}); err != nil {
		return err
	}
	server.ServeConn(conn)
	return nil
}
