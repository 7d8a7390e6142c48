// Cfaults goes through the faults of C code, which a pure Go program does not have, and tells on stdout how each was reported.
package main

/*
#include <signal.h>
#include <stdlib.h>

static int bad_pointer(void) { return *(volatile int *)8; }
static void end(void) { abort(); }
static void spin(void) { for (volatile int i = 0; ; i++) ; }
static void overflow(volatile char *p) { volatile char room[4096]; room[0] = p ? p[0] : 0; overflow(room); room[1] = 0; }
*/
import "C"

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/gojoblib/parallel"
)

// Report is the outcome of a run with one bad call, number 10 of 21.
type Report struct {
	Fault   string
	Failed  []int // the calls
	Wrong   []int // results that are neither there nor failed
	Twice   []int // calls that were started more than once
	Timeout bool
	Crash   *parallel.CrashError
	Text    string
	Again   bool // new work succeeds
}

type call struct {
	Index int
	Fault string
	Log   string
}

func do(c call) int {
	f, err := os.OpenFile(c.Log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	_, _ = f.Write(binary.LittleEndian.AppendUint32(nil, uint32(c.Index)))
	f.Close()
	switch c.Fault {
	case "":
	case "SIGSEGV":
		return int(C.bad_pointer())
	case "abort":
		C.end()
	case "endless loop":
		C.spin()
	case "stack overflow":
		C.overflow(nil)
	}
	return c.Index*c.Index + 1
}

func main() {
	parallel.Main(do)
	var reports []Report
	for i, fault := range os.Args[2:] {
		log := os.Args[1] + "/" + string(rune('a'+i))
		calls := make([]call, 21)
		for k := range calls {
			calls[k] = call{Index: k, Log: log}
		}
		calls[10].Fault = fault
		opts := []parallel.Option{parallel.Prefer(parallel.Processes), parallel.KeepGoing()}
		if fault == "endless loop" {
			opts = append(opts, parallel.Timeout(200*time.Millisecond))
		}
		got, err := parallel.Parallel(2, opts...)(parallel.Each(do, calls)...)
		r := Report{Fault: fault}
		failed := map[int]bool{}
		for _, f := range parallel.Failures(err) {
			r.Failed = append(r.Failed, f.Index)
			failed[f.Index] = true
			r.Timeout = errors.Is(f.Err, parallel.ErrTimeout)
			if c, ok := f.Err.(*parallel.CrashError); ok {
				r.Crash = c
			}
		}
		if err != nil {
			r.Text = err.Error()
		}
		for k, v := range got {
			if !failed[k] && v != k*k+1 {
				r.Wrong = append(r.Wrong, k)
			}
		}
		times := map[int]int{}
		b, _ := os.ReadFile(log)
		for ; len(b) >= 4; b = b[4:] {
			k := int(binary.LittleEndian.Uint32(b))
			if times[k]++; times[k] > 1 {
				r.Twice = append(r.Twice, k)
			}
		}
		calls[10].Fault = ""
		_, err = parallel.Parallel(2, parallel.Prefer(parallel.Processes))(parallel.Each(do, calls)...)
		r.Again = err == nil
		reports = append(reports, r)
	}
	parallel.CloseIdleWorkers()
	if err := json.NewEncoder(os.Stdout).Encode(reports); err != nil {
		panic(err)
	}
}
