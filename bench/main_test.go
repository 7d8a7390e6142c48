package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

// small are the bodies, cut to their first elements.
func small() []body {
	bs := bodies(2)
	for i := range bs {
		bs[i].in = bs[i].in[:100]
	}
	return bs
}

func TestEveryContenderReturnsTheResults(t *testing.T) {
	if err := verify(contenders, small()); err != nil {
		t.Error(err)
	}
}

func TestEveryContenderReportsTheErrorOfACall(t *testing.T) {
	boom := errors.New("boom")
	fails := func(_ context.Context, x int) (int, error) {
		if x == 50 {
			return 0, boom
		}
		return x, nil
	}
	for _, c := range append([]contender{plain}, contenders...) {
		t.Run(c.name, func(t *testing.T) {
			if _, err := c.run(t.Context(), 2, ints(100), fails); !errors.Is(err, boom) {
				t.Errorf("got %v, want %v", err, boom)
			}
		})
	}
}

func TestWhoSkipsTheWorkIsFoundOut(t *testing.T) {
	lazy := contender{name: "lazy", run: func(_ context.Context, _ int, in []int, _ task) ([]int, error) {
		return make([]int, len(in)), nil
	}}
	swapped := contender{name: "swapped", run: func(ctx context.Context, n int, in []int, fn task) ([]int, error) {
		out, err := plain.run(ctx, n, in, fn)
		slices.Reverse(out)
		return out, err
	}}
	for _, c := range []contender{lazy, swapped} {
		for _, b := range small() {
			if verify([]contender{c}, []body{b}) == nil {
				t.Errorf("%s passes with %s", c.name, b.name)
			}
		}
	}
}

func TestTableHasARowForEveryContender(t *testing.T) {
	var table strings.Builder
	if err := report(&table, contenders, small(), 1); err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(strings.TrimSuffix(table.String(), "\n"), "\n")
	want := []string{"n = 2", "---", plain.name}
	for _, c := range contenders {
		want = append(want, c.name)
	}
	if len(rows) != len(want) {
		t.Fatalf("%d rows, want %d:\n%s", len(rows), len(want), &table)
	}
	for i, row := range rows {
		if !strings.HasPrefix(row, "| "+want[i]) {
			t.Errorf("row %d is %q, want %q", i, row, want[i])
		}
		if got, want := strings.Count(row, "|"), strings.Count(rows[0], "|"); got != want {
			t.Errorf("row %d has %d bars, want %d: %q", i, got, want, row)
		}
	}
}
