package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
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

// diary is what a run has told.
type diary struct {
	calls       [][]dispatch.Event // by Index
	last        map[int]dispatch.Event
	faults      []string
	begun, over int
	counts      dispatch.Counts
	err         error
}

func newDiary(n int) *diary {
	return &diary{calls: make([][]dispatch.Event, n), last: map[int]dispatch.Event{}}
}

func (d *diary) fault(format string, args ...any) {
	d.faults = append(d.faults, fmt.Sprintf(format, args...))
}

func (d *diary) Begin(_ dispatch.Work, n int, at time.Time) error {
	d.begun++
	if at.IsZero() || n != len(d.calls) && n != -1 {
		d.fault("the run of %d calls began with %d at %v", len(d.calls), n, at)
	}
	return nil
}

func (d *diary) Tell(events []dispatch.Event) error {
	if d.begun != 1 || d.over != 0 {
		d.fault("told after %d beginnings and %d ends", d.begun, d.over)
	}
	for _, e := range events {
		d.calls[e.Index] = append(d.calls[e.Index], e)
		if before := d.last[e.Worker]; e.At < before.At && e.Worker >= 0 {
			d.fault("worker %d: %v after %v", e.Worker, e, before)
		}
		d.last[e.Worker] = e
	}
	return nil
}

func (d *diary) End(_ time.Duration, c dispatch.Counts, err *backend.RunError) error {
	d.over++
	d.counts = c
	if err != nil {
		d.err = err
	}
	return nil
}

// verify says in what the story of a call cannot have happened; where the run was not stopped, every call has an end.
func (d *diary) verify(stopped bool) error {
	if d.begun != 1 || d.over != 1 {
		d.fault("%d beginnings and %d ends", d.begun, d.over)
	}
	var ends [dispatch.Cached + 1]int
	for i, h := range d.calls {
		attempt, began, over := 1, false, false
		for _, e := range h {
			unstarted := e.Kind == dispatch.Cached || (e.Kind == dispatch.Failed || e.Kind == dispatch.Cut) && e.Worker < 0
			switch {
			case over:
				d.fault("call %d went on after its end: %v", i, h)
			case e.Attempt != attempt && (!unstarted || e.Attempt != 0 && e.Attempt != attempt-1):
				d.fault("call %d: an event of attempt %d came during attempt %d: %v", i, e.Attempt, attempt, h)
			case (e.Kind == dispatch.Started) == began && !unstarted:
				d.fault("call %d: an attempt began twice, or never: %v", i, h)
			case (e.Err != nil) != (e.Kind == dispatch.Failed || e.Kind == dispatch.Retried || e.Kind == dispatch.Lost || e.Kind == dispatch.Cut):
				d.fault("call %d: an event of kind %d has the error %v", i, e.Kind, e.Err)
			case e.Name != "every3rdFailsTwice":
				d.fault("call %d is called %q", i, e.Name)
			}
			switch e.Kind {
			case dispatch.Started:
				began = true
			case dispatch.Retried:
				attempt, began = attempt+1, false
			case dispatch.Finished, dispatch.Failed, dispatch.Cut, dispatch.Cached:
				over = true
				ends[e.Kind]++
			}
		}
		if !over && (!stopped || len(h) > 0) {
			d.fault("call %d never ended: %v", i, h)
		}
	}
	c := d.counts
	if !c.Over || c.Done+c.Cut+c.NotRun != c.Total && c.Total >= 0 || ends[dispatch.Failed] != c.Failed || ends[dispatch.Cut] != c.Cut || ends[dispatch.Cached] != c.Cached ||
		ends[dispatch.Finished] != c.Done-c.Failed-c.Cached {
		d.fault("the run counts %+v, and told of %v", c, ends)
	}
	if d.faults == nil {
		return nil
	}
	return errors.New(strings.Join(d.faults, "\n"))
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
			for _, wait := range []time.Duration{0, time.Second} {
				synctest.Test(t, func(t *testing.T) {
					d := newDiary(calls)
					w := make(work, calls)
					err := dispatch.Do(dispatch.Spec{
						Context: context.Background(), Backend: b, N: 3, KeepGoing: true,
						Retry: func(_ error, attempt int) (time.Duration, bool) {
							return time.Duration(attempt) * wait, attempt < 20
						},
						Listeners: []dispatch.Listener{d},
					}, w, calls)
					if err != nil {
						t.Errorf("%s, seed %d: %v", name, seed, err)
					}
					if err := d.verify(false); err != nil {
						t.Errorf("%s, seed %d: %v", name, seed, err)
					}
					for i := range w {
						if w[i] != i {
							t.Errorf("%s, seed %d: call %d returned %d", name, seed, i, w[i])
						}
					}
					time.Sleep(time.Hour)
				})
			}
		}
	}
}

func TestNothingIsToldAfterTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		d := newDiary(3)
		err := dispatch.Do(dispatch.Spec{
			Context: ctx, Backend: threads.Backend{}, N: 1, Timeout: time.Second, Listeners: []dispatch.Listener{d},
		}, &fatal{make(work, 3), cancel}, 3)
		if err == nil || !errors.Is(err, context.Canceled) || err.NotRun != 2 {
			t.Fatalf("the error is %v, want a cancel and 2 calls not run", err)
		}
		failed := len(err.Failed)
		time.Sleep(time.Minute) // beyond every Timeout
		if err := d.verify(true); err != nil {
			t.Error(err)
		}
		if len(err.Failed) != failed {
			t.Errorf("the error is now %v", err)
		}
	})
}

// fatal is work whose calls stop the run.
type fatal struct {
	work
	stop func()
}

func (w *fatal) Run(t *dispatch.Thread, lo, hi int) int {
	w.stop()
	synctest.Wait() // the run is stopped
	t.Index = lo
	t.Begun()
	t.Ended(errors.New("too late"))
	return lo + 1
}

// odd is a Listener that fails in its own way.
type odd struct {
	how  string
	when string
	told int // times after that
}

func (o *odd) act(when string) error {
	if o.told > 0 || o.when == when {
		o.told++
	}
	if o.when != when || o.told > 1 {
		return nil
	}
	switch o.how {
	case "error":
		return errors.New("odd")
	case "panic":
		panic("odd")
	}
	runtime.Goexit()
	return nil
}

func (o *odd) Begin(dispatch.Work, int, time.Time) error { return o.act("begin") }
func (o *odd) Tell([]dispatch.Event) error               { return o.act("tell") }
func (o *odd) End(time.Duration, dispatch.Counts, *backend.RunError) error {
	return o.act("end")
}

func TestListenerThatFailsHarmsNobody(t *testing.T) {
	testkit.Clean(t)
	for _, when := range []string{"begin", "tell", "end"} {
		for how, want := range map[string]string{
			"error": "parallel: odd", "panic": "parallel: an observer failed: panic: odd", "exit": "parallel: an observer failed: " + backend.ErrGoexit.Error(),
		} {
			const calls = 3000
			before, after, o, w := newDiary(calls), newDiary(calls), &odd{how: how, when: when}, make(work, calls)
			err := dispatch.Do(dispatch.Spec{
				Context: context.Background(), Backend: threads.Backend{}, N: 3, Batch: 7,
				Retry:     func(error, int) (time.Duration, bool) { return 0, true },
				Listeners: []dispatch.Listener{before, o, after},
			}, w, calls)
			if err == nil || err.Error() != want || len(err.Failed)+err.NotRun+err.Cut > 0 {
				t.Errorf("%s at %s: the error is %v", how, when, err)
			}
			if o.told != 1 {
				t.Errorf("%s at %s: told %d times", how, when, o.told)
			}
			for _, d := range []*diary{before, after} {
				if err := d.verify(false); err != nil {
					t.Errorf("%s at %s: %v", how, when, err)
				}
			}
			for i := range w {
				if w[i] != i {
					t.Fatalf("call %d returned %d", i, w[i])
				}
			}
		}
	}
}

// slow is work whose one call waits until it is let go.
type slow struct {
	work
	leave chan struct{}
}

func (w *slow) Run(t *dispatch.Thread, lo, hi int) int {
	t.Index = lo
	t.Begun()
	<-w.leave
	t.Ended(nil)
	return lo + 1
}

// early lets a call go when its start is told.
type early struct {
	*diary
	leave chan struct{}
}

func (e early) Tell(events []dispatch.Event) error {
	if events[0].Kind == dispatch.Started {
		close(e.leave)
	}
	return e.diary.Tell(events)
}

func TestStartIsToldWhileTheCallRuns(t *testing.T) {
	testkit.Clean(t)
	synctest.Test(t, func(t *testing.T) {
		leave := make(chan struct{})
		d, start := newDiary(1), time.Now()
		err := dispatch.Do(dispatch.Spec{
			Context: context.Background(), Backend: threads.Backend{}, N: 1, Listeners: []dispatch.Listener{early{d, leave}},
		}, &slow{make(work, 1), leave}, 1)
		if err != nil {
			t.Error(err)
		}
		if err := d.verify(false); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 100*time.Millisecond {
			t.Errorf("the start was told after %v", took)
		}
	})
}

func TestRunThatDoesNotBeginIsTold(t *testing.T) {
	testkit.Clean(t)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for name, c := range map[string]struct {
		run    func(dispatch.Spec) *backend.RunError
		calls  int
		notRun int
	}{
		"empty": {func(s dispatch.Spec) *backend.RunError { return dispatch.Do(s, work{}, 0) }, 0, 0},
		"ended": {func(s dispatch.Spec) *backend.RunError { s.Context = ended; return dispatch.Do(s, make(work, 5), 5) }, 5, 5},
		"stream": {func(s dispatch.Spec) *backend.RunError {
			s.Context = ended
			return dispatch.Stream(dispatch.StreamSpec{Spec: s}, work{}, nil, nil)
		}, 0, 0},
		"refused": {func(s dispatch.Spec) *backend.RunError {
			return dispatch.Refuse(s, make(work, 2), 2, &backend.RunError{NotRun: 2, Cause: errors.New("no")})
		}, 2, 2},
	} {
		d, watched, over := newDiary(c.calls), 0, dispatch.Counts{}
		spec := dispatch.Spec{Context: context.Background(), Backend: threads.Backend{}, N: 2, Listeners: []dispatch.Listener{d}}
		spec.Watch = func(counts func() dispatch.Counts) func() {
			watched++
			return func() { watched++; over = counts() }
		}
		err := c.run(spec)
		if verr := d.verify(true); verr != nil || watched != 2 {
			t.Errorf("%s: watched %d, %v", name, watched, verr)
		}
		if (err != nil) != (name != "empty") || d.err != nil && d.err.Error() != err.Error() || (d.err != nil) != (err != nil) {
			t.Errorf("%s: the error is %v, told was %v", name, err, d.err)
		}
		if over != d.counts || over.NotRun != c.notRun || !over.Over {
			t.Errorf("%s: the end was %+v and %+v", name, over, d.counts)
		}
	}
}
