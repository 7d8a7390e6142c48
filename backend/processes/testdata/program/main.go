// Program is what the tests of worker processes do to a whole program. PROGRAM_MODE says what it does; it answers on stdout.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/backend/processes"
)

var mode = os.Getenv("PROGRAM_MODE")

// A run before Main, in the program and in each of its workers.
var early = func() error {
	if mode != "early" {
		return nil
	}
	_, err := parallel.Parallel(2, parallel.Prefer(parallel.Processes))(parallel.Each(square, []int{1, 2, 3})...)
	fmt.Println("early:", err)
	return err
}()

func square(i int) int { return i * i }

// dwell starts a program and does not end, in one way or another.
func dwell(ctx context.Context, how string) (string, error) {
	sleep := exec.Command("sleep", "1000")
	if err := sleep.Start(); err != nil {
		return "", err
	}
	fmt.Printf("worker %d\nsleeper %d\n", os.Getpid(), sleep.Process.Pid)
	switch how {
	case "stopped":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "loop":
		for i := 0; ; i++ {
		}
	case "polite":
		<-ctx.Done()
		fmt.Println("polite")
		return "", ctx.Err()
	}
	select {}
}

func main() {
	switch mode {
	case "never":
		run()
		return
	case "flags":
		name := flag.String("name", "", "it must be given")
		flag.Parse()
		fmt.Println("hello")
		if *name == "" {
			fmt.Fprintln(os.Stderr, "usage: program -name N")
			os.Exit(2)
		}
		fallthrough
	case "late":
		fmt.Println("working")
	case "stuck":
		if len(os.Args) == 1 && os.Getenv("PROGRAM_STUCK") == "" {
			os.Setenv("PROGRAM_STUCK", "1") // its workers get here, too
		} else {
			time.Sleep(time.Hour)
		}
	case "registers late":
		if os.Getenv("PROGRAM_REGISTERS") == "" {
			os.Setenv("PROGRAM_REGISTERS", "1")
		} else {
			parallel.Main() // a worker of another kind: it knows no functions
		}
	}
	parallel.Main(square, dwell)
	if !flag.Parsed() {
		flag.Parse()
	}
	switch mode {
	case "deleted":
		check(os.Remove(executable()))
	case "replaced":
		other := filepath.Join(filepath.Dir(executable()), "other")
		check(os.WriteFile(other, []byte("#!/bin/sh\necho another program\n"), 0o700))
		check(os.Rename(other, executable()))
	case "dwell":
		ctx := context.Background()
		if os.Getenv("PROGRAM_INTERRUPT") != "" {
			var stop context.CancelFunc
			ctx, stop = signal.NotifyContext(ctx, os.Interrupt)
			defer stop()
		}
		how := os.Getenv("PROGRAM_HOW")
		_, err := parallel.Parallel(2, parallel.Prefer(parallel.Processes), parallel.Context(ctx))(parallel.Each(dwell, []string{how, how})...)
		fmt.Println("error:", err)
		fmt.Println("cancelled:", context.Cause(ctx) != nil)
		return
	}
	run()
}

func executable() string {
	path, err := os.Executable()
	check(err)
	return path
}

func check(err error) {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func run() {
	start := time.Now()
	b := processes.New(processes.Options{})
	for range 2 {
		got, err := parallel.Parallel(2, parallel.Backend(b))(parallel.Each(square, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})...)
		fmt.Println("results:", got)
		fmt.Println("error:", err)
	}
	fmt.Println("took:", time.Since(start))
}
