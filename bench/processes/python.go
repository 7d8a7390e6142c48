package main

import (
	"context"
	_ "embed"
	"errors"
	"time"

	"github.com/gojoblib/parallel/bench/internal/python"
)

//go:embed peers.py
var peersPy []byte

// inPython are the contenders that p can run, as in the table of peers.py: each in a process of its own, so that none forks
// with the memory of another.
func inPython(p *python.Python) []contender {
	open := func(name string) func() (session, error) {
		return func() (session, error) {
			s, err := p.Start(context.Background(), name)
			return pythonSession{s}, err
		}
	}
	arrays := []kind{kindSum, kindAgain, kindDouble}
	cs := []contender{
		{name: "mp.Pool", open: open("pool")},
		{name: "mp.Pool, chunksize=1", open: open("pool-1"), skips: append([]kind{kindCold, kindCall}, arrays...), most: 100_000},
		{name: "executor", open: open("executor"), most: 10_000},
		{name: "executor, chunksize=1000", open: open("executor-1000"), skips: append([]kind{kindDynamic, kindCold, kindCall}, arrays...)},
	}
	if p.Extras {
		return append(cs, contender{name: "joblib loky", open: open("loky")})
	}
	for i := range cs {
		cs[i].skips = append(cs[i].skips, arrays...)
	}
	return cs
}

type pythonSession struct{ *python.Session }

func (s pythonSession) run(j job) (time.Duration, error) {
	var answer struct {
		Seconds float64
		Error   string
	}
	if err := s.Do(j, &answer); err != nil {
		return 0, err
	}
	if answer.Error != "" {
		return 0, errors.New(answer.Error)
	}
	return time.Duration(answer.Seconds * float64(time.Second)), nil
}

func (s pythonSession) close() error { return s.Close() }
