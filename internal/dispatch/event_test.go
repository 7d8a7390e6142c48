package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/backend/threads"
	"github.com/gojoblib/parallel/internal/dispatch"
	"github.com/gojoblib/parallel/internal/registry"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/gojoblib/parallel/internal/wire"
)

func TestMain(m *testing.M) {
	if err := registry.Register(every3rdFailsTwice); err != nil {
		panic(err)
	}
	testkit.Main(m)
}

func every3rdFailsTwice(i, attempt int) (int, error) {
	if i%3 == 0 && attempt < 3 {
		return 0, errors.New("not yet")
	}
	return i, nil
}

// work is calls of every3rdFailsTwice.
type work []int

func (w work) Run(t *dispatch.Thread, lo, hi int) int {
	i := lo
	for ; i < hi && !t.Stop().Load(); i++ {
		t.Index = i
		if !t.Plain() {
			t.Begun()
		}
		v, err := every3rdFailsTwice(i, t.Attempt)
		if t.Ended(err) {
			w[i] = v
		}
	}
	return i
}
func (w work) Name(int) string                             { return "every3rdFailsTwice" }
func (w work) Args(int) string                             { return "" }
func (w work) Strangers() []*backend.TaskError             { return nil }
func (w work) Fail(int, *backend.TaskError, time.Duration) {}
func (w work) Append(b *wire.Batch, i int) error {
	name, err := registry.FuncName(every3rdFailsTwice)
	if err != nil {
		return err
	}
	return b.Add(wire.Call{Func: name, Index: i}, reflect.TypeOf(every3rdFailsTwice), []any{i, b.Attempt})
}
func (w work) AppendColumn(*wire.Batch, int, int) bool { return false }
func (w work) Store(i int, v wire.Value, _ int, _ time.Duration) error {
	return wire.ReadValueInto(v, &w[i])
}
func (w work) StoreColumn(int, int, wire.ResultReader, int, time.Duration) bool { return false }

// history is the events of one call.
type history []dispatch.Event

// verify says what cannot have happened.
func (h history) verify() error {
	attempt, began, over := 1, false, false
	for _, e := range h {
		switch {
		case over:
			return errors.New("it went on after its end")
		case e.Attempt != attempt:
			return fmt.Errorf("an event of attempt %d came during attempt %d", e.Attempt, attempt)
		case e.Kind == dispatch.Started && began:
			return errors.New("an attempt began twice")
		case (e.Err != nil) != (e.Kind == dispatch.Failed || e.Kind == dispatch.Retried || e.Kind == dispatch.Lost):
			return fmt.Errorf("an event of kind %d has the error %v", e.Kind, e.Err)
		}
		switch e.Kind {
		case dispatch.Started:
			began = true
		case dispatch.Retried:
			attempt, began = attempt+1, false
		case dispatch.Finished, dispatch.Failed:
			over = true
		}
	}
	if !over {
		return errors.New("it never ended")
	}
	return nil
}

func TestEventsTellTheStoryOfEachCall(t *testing.T) {
	testkit.Clean(t)
	const calls = 40
	for seed := range uint64(20) {
		for name, b := range map[string]backend.Backend{
			"threads":    threads.Backend{},
			"good":       &testkit.Remote{Seed: seed},
			"misordered": &testkit.Remote{Seed: seed, Delay: time.Millisecond, Reorder: .5, Redeliver: .5},
			"losing":     &testkit.Remote{Seed: seed, Lose: .1, Reorder: .2, Redeliver: .2},
		} {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				told := make([]history, calls)
				w := make(work, calls)
				err := dispatch.Do(dispatch.Spec{
					Context: context.Background(), Backend: b, N: 3, KeepGoing: true,
					Retry: func(_ error, attempt int) (time.Duration, bool) {
						return time.Duration(attempt) * time.Second, attempt < 20
					},
					Listen: func(e dispatch.Event) {
						mu.Lock()
						defer mu.Unlock()
						told[e.Index] = append(told[e.Index], e)
					},
				}, w, calls)
				if err != nil {
					t.Errorf("%s, seed %d: %v", name, seed, err)
				}
				for i, h := range told {
					if err := h.verify(); err != nil {
						t.Errorf("%s, seed %d, call %d: %v", name, seed, i, err)
					}
					if w[i] != i {
						t.Errorf("%s, seed %d: call %d returned %d", name, seed, i, w[i])
					}
				}
				time.Sleep(time.Hour)
			})
		}
	}
}

func TestNothingIsToldAfterTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		over, late := false, 0
		err := dispatch.Do(dispatch.Spec{
			Context: ctx, Backend: threads.Backend{}, N: 1, Timeout: time.Second,
			Listen: func(dispatch.Event) {
				if over {
					late++
				}
				cancel()
				synctest.Wait() // the run is stopped
			},
		}, make(work, 3), 3)
		over = true
		if err == nil || !errors.Is(err, context.Canceled) || err.NotRun != 2 {
			t.Fatalf("the error is %v, want a cancel and 2 calls not run", err)
		}
		failed := len(err.Failed)
		time.Sleep(time.Minute) // beyond every Timeout
		if late > 0 || len(err.Failed) != failed {
			t.Errorf("%d events came after the end, and the error is now %v", late, err)
		}
	})
}
