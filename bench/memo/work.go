package main

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// What is remembered, and what is hashed. peers.py has the same functions and values.

const (
	// workers is how many a run has.
	workers = 2
	// callers is how many ask for the same at once.
	callers = 8
)

// made counts the calls that were made.
var made atomic.Int64

func square(_ context.Context, x int) (int, error) {
	made.Add(1)
	return squareOf(x), nil
}

func nap(_ context.Context, x int) (int, error) {
	made.Add(1)
	time.Sleep(time.Millisecond)
	return squareOf(x), nil
}

func describe(_ context.Context, x int) (Record, error) {
	made.Add(1)
	return recordOf(x), nil
}

func page(_ context.Context, x int) (string, error) {
	made.Add(1)
	return pageOf(x), nil
}

func squareOf(x int) int { return x * x }

// Record is what describe returns.
type Record struct {
	Name  string
	Score float64
	Tags  []string
}

func recordOf(x int) Record {
	s := "item-" + strconv.Itoa(x)
	return Record{s, float64(x) / 2, []string{s[:4], s[5:]}}
}

func pageOf(x int) string { return strings.Repeat(strconv.Itoa(x)+" ", 500)[:1000] }

type pair struct {
	S string
	N int
}

type fields struct {
	ID    int
	Name  string
	Ratio float64
	On    bool
}

// values are as many as there are keys, no two the same.
func values(k kind, keys int) []any {
	vs := make([]any, keys)
	for i := range vs {
		switch name := "item-" + strconv.Itoa(i); k {
		case kindHashInt:
			vs[i] = 1000 + i
		case kindHashPair:
			vs[i] = pair{name, i}
		case kindHashStruct:
			vs[i] = fields{i, name, float64(i) * 0.1, i%2 == 0}
		case kindHashFloats: // they use all their bits, for gob sends others in fewer bytes
			xs := make([]float64, 1_000_000)
			for j := range xs {
				xs[j] = float64(j)*0.1 + float64(i)
			}
			vs[i] = xs
		}
	}
	return vs
}

// cycle is n numbers that go round the first so many.
func cycle(n, keys int) []int {
	xs := make([]int, n)
	for i := range xs {
		xs[i] = i % keys
	}
	return xs
}
