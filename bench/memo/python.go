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

// inPython are the contenders that p can run, as in the table of peers.py.
func inPython(p *python.Python) []contender {
	open := func(name string) func(context.Context, string) (session, error) {
		return func(ctx context.Context, dir string) (session, error) {
			s, err := p.Start(ctx, name, dir)
			return pythonSession{s}, err
		}
	}
	cs := []contender{{name: "lru_cache", open: open("lru_cache"), skips: append([]kind{kindMap, kindRun, kindDisk}, hashes...)}}
	if p.Extras {
		cs = append(cs, contender{name: "joblib", open: open("joblib"), skips: []kind{kindShare, kindMap}, most: 1000})
	}
	return cs
}

type pythonSession struct{ *python.Session }

func (s pythonSession) run(j job) (sample, error) {
	var answer struct {
		Seconds float64
		Made    int
		Error   string
	}
	if err := s.Do(j, &answer); err != nil {
		return sample{}, err
	}
	if answer.Error != "" {
		return sample{}, errors.New(answer.Error)
	}
	return sample{time.Duration(answer.Seconds * float64(time.Second)), answer.Made}, nil
}

func (s pythonSession) close() error { return s.Close() }
