package parallel

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"runtime/metrics"
	"strings"
	"time"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/dispatch"
	"github.com/gojoblib/parallel/internal/wire"
)

// Explain gives f, when the run has ended and before it returns, an explanation of where its time went and what held it
// up, made of what was counted meanwhile: for people, and not a profile.
//
//	parallel.Explain(func(x parallel.Explanation) { log.Print(x) })
//
// f is called on a goroutine of the run's; by runs at the same time, as With makes them, at the same time. It costs
// what Observe does, and a panic of f means what it means there.
func Explain(f func(Explanation)) Option {
	return option{optExplain, func(c *config) {
		if f == nil {
			c.fault("Explain(nil): give a function, or leave the option out")
		}
		c.explain = f
	}}
}

// Verdict is what held a run up the most.
type Verdict uint8

const (
	VerdictNothing        Verdict = iota // no task was run
	VerdictBusy                          // nothing: the workers were at work
	VerdictIdle                          // workers had nothing to do, and none of what follows is why
	VerdictFewTasks                      // there were fewer tasks than workers
	VerdictOneTask                       // one task was under way while others had ended
	VerdictSlowInput                     // the input of a stream
	VerdictSlowConsumer                  // the loop over a stream's results
	VerdictSmallTasks                    // handing tasks over and taking results in cost more than the tasks
	VerdictLargeArguments                // sending what tasks are given did
	VerdictSlowStart                     // starting workers
	VerdictManyWorkers                   // there were more workers than CPUs, and they wanted them
)

var verdictNames = [...]string{
	"nothing was run", "the workers were busy", "the workers were idle", "there were few tasks", "one task was long", "the input was slow",
	"the consumer was slow", "the tasks were small", "the arguments were large", "the start was slow", "there were many workers",
}

func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// Explanation is where the time of a run went. Elapsed × Workers is about Busy + Idle + Handling; the others are beside
// that, and none of them is exact.
type Explanation struct {
	Run     RunInfo
	Summary Summary
	Verdict Verdict
	Reason  string // the verdict in words, with its number and what to do

	Elapsed time.Duration
	CPUs    int           // GOMAXPROCS
	Workers int           // that were started, those in place of lost ones not counted
	Calls   int           // attempts that have ended
	Busy    time.Duration // in tasks, all workers together
	Wasted  time.Duration // of that, in attempts that were followed by another
	Idle    time.Duration // workers with nothing to do
	// Handling is what lies between the two, where workers share no memory with the run: encoding, sending, waiting for one
	// another, decoding. The next three are parts of it, and overlap with Busy.
	Handling       time.Duration
	Encode, Decode time.Duration
	Send           time.Duration // it waits for workers that do not read
	Sent           int64         // bytes

	Longest      time.Duration // attempt
	LongestIndex int
	LongestName  string

	Draw    time.Duration // streams: in the input
	Held    time.Duration // streams: the input waited, since the results it was ahead of had not been taken
	Consume time.Duration // streams: in the loop over the results
	First   time.Duration // until the first task began
	Waiting float64       // how many goroutines of the program waited for a CPU, on average; 0 where the run was too short to tell
}

// String returns the explanation as a paragraph.
func (x Explanation) String() string {
	var b strings.Builder
	r := x.Run
	fmt.Fprintf(&b, "%s on %s: %s.", labelOf(r.Caller, r.Func), r.Backend, x.Reason)
	if x.Calls == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, " %s on %s took %s: %s each, %s per second.", many(x.Calls, "call"), many(x.Workers, "worker"), rough(x.Elapsed),
		rough(x.each()), strings.TrimSuffix(perSecond(float64(x.Calls)/max(x.Elapsed.Seconds(), 1e-9)), "/s"))
	fmt.Fprintf(&b, " Of the workers' time, %s was spent in tasks", share(x.Busy, x.all()))
	if x.Wasted > 0 {
		fmt.Fprintf(&b, " (%s in attempts that were repeated)", share(x.Wasted, x.all()))
	}
	if x.Handling > 0 {
		fmt.Fprintf(&b, ", %s between them (encoding %s, sending %s, decoding %s, %s)", share(x.Handling, x.all()), rough(x.Encode), rough(x.Send), rough(x.Decode), size(x.Sent))
	}
	fmt.Fprintf(&b, ", %s idle.", share(x.Idle, x.all()))
	if r.Total < 0 {
		fmt.Fprintf(&b, " Drawing the input took %s of the time, the loop over the results %s.", share(x.Draw, x.Elapsed), share(x.Consume, x.Elapsed))
	}
	if x.Calls > 1 {
		fmt.Fprintf(&b, " The longest task was %d (%s), with %s.", x.LongestIndex, x.LongestName, rough(x.Longest))
	}
	if s := x.Summary; s.Failed+s.Cut+s.NotRun+s.Cached > 0 {
		fmt.Fprintf(&b, " Failed: %d, not run: %d, cut short: %d, from the cache: %d.", s.Failed, s.NotRun, s.Cut, s.Cached)
	}
	return b.String()
}

// all is the time of all workers together.
func (x *Explanation) all() time.Duration { return x.Elapsed * time.Duration(x.Workers) }

// each is how long a call takes.
func (x *Explanation) each() time.Duration { return x.Busy / time.Duration(max(1, x.Calls)) }

// ratio returns part/whole, 0 of nothing.
func ratio(part, whole time.Duration) float64 {
	if whole <= 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func share(part, whole time.Duration) string {
	return fmt.Sprintf("%.0f%%", 100*min(1, ratio(part, whole)))
}

func many(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func size(n int64) string {
	switch {
	case n >= 10<<20:
		return fmt.Sprintf("%d MB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d kB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

// judge finds the verdict. args describes the largest argument of tasks.
func (x *Explanation) judge(args func() string) {
	idle := ratio(x.Idle, x.all())
	draw, consume := ratio(x.Draw, x.Elapsed), ratio(x.Consume, x.Elapsed)
	working := x.all() - x.Idle
	perCall := x.Sent / int64(max(1, x.Calls))
	say := func(v Verdict, format string, args ...any) { x.Verdict, x.Reason = v, fmt.Sprintf(format, args...) }
	switch {
	case x.Calls == 0:
		say(VerdictNothing, "no task was run")
	case idle >= .3 && consume >= .5 && consume >= draw:
		say(VerdictSlowConsumer, "the consumer was slow: the loop over the results took %s of the time, and workers were idle %s; do less in it, or let tasks do it",
			share(x.Consume, x.Elapsed), share(x.Idle, x.all()))
	case idle >= .3 && draw >= .5:
		say(VerdictSlowInput, "the input was the bottleneck: drawing it took %s of the time, and workers were idle %s; draw less, and let tasks do the rest",
			share(x.Draw, x.Elapsed), share(x.Idle, x.all()))
	case x.Calls > 1 && x.Workers > 1 && idle >= .2 && ratio(x.Longest, x.Elapsed) >= .5 && x.Longest >= 3*x.others():
		say(VerdictOneTask, "one task (%d, %s) held %s of the run, %s, while the others lasted %s on average; split it, or start it first",
			x.LongestIndex, x.LongestName, share(x.Longest, x.Elapsed), rough(x.Longest), rough(x.others()))
	case perCall >= 256<<10 && ratio(x.Handling, working) >= .3:
		say(VerdictLargeArguments, "%s, and workers spent %s of their time on that; send a path or a key and let tasks load it, or use Threads",
			args(), share(x.Handling, working))
	case x.Handling > x.Busy && x.each() < time.Millisecond && x.Calls > x.Workers:
		say(VerdictSmallTasks, "tasks last %s: %s costs %.2g× here; give each more to do, or use Threads",
			rough(x.each()), x.Run.Backend, ratio(working, max(x.Busy, 1)))
	case x.Handling > 0 && ratio(x.First, x.Elapsed) >= .5:
		say(VerdictSlowStart, "starting workers took %s of the time: the first task began after %s; a Pool keeps them",
			share(x.First, x.Elapsed), rough(x.First))
	case x.Run.Total >= 0 && x.Run.Total < x.Run.Workers && x.Run.Total < x.CPUs:
		say(VerdictFewTasks, "there were more workers than tasks: %d of the %d had nothing to do; cut the work finer", x.Run.Workers-x.Run.Total, x.Run.Workers)
	case x.Handling == 0 && x.Workers > x.CPUs && x.Waiting >= max(1, float64(x.Workers-x.CPUs)/2):
		say(VerdictManyWorkers, "more workers than CPUs: %d share %d, and %.3g waited for one on average; nothing is gained, and tasks take %.2g× as long",
			x.Workers, x.CPUs, x.Waiting, float64(x.Workers)/float64(x.CPUs))
	case idle >= .3:
		say(VerdictIdle, "workers were idle %s of the time: they waited for the last tasks, for retries, or for results that others were making", share(x.Idle, x.all()))
	default:
		say(VerdictBusy, "workers were busy %s of the time: tasks that wait want more workers than these %d, tasks that compute more CPUs than these %d",
			share(x.Busy, x.all()), x.Workers, x.CPUs)
	}
}

// others is how long the calls but for the longest took on average.
func (x *Explanation) others() time.Duration {
	return (x.Busy - x.Longest) / time.Duration(max(1, x.Calls-1))
}

// inquiry follows a run in order to explain it.
type inquiry struct {
	Explanation
	run   *RunInfo
	f     func(Explanation)
	tally *dispatch.Tally
	work  dispatch.Work
	looks int
	end   chan struct{}         // closed when there is no further look
	ended chan struct{}         // closed after the last one
	open  map[int]time.Duration // when the attempt under way on a worker began
}

const (
	// lookEvery is how often it is asked on average how many goroutines wait. The moments are random: tasks that sleep
	// wake together, and what woke with them, a timer or an event, would find them all in the queue.
	lookEvery = 5 * time.Millisecond
	minLooks  = 4 // fewer say nothing
)

func newInquiry(f func(Explanation), run *RunInfo, tally *dispatch.Tally) *inquiry {
	return &inquiry{run: run, f: f, tally: tally, open: map[int]time.Duration{}, end: make(chan struct{}), ended: make(chan struct{})}
}

func (q *inquiry) Begin(w dispatch.Work, n int, at time.Time) error {
	q.work, q.First, q.LongestIndex, q.CPUs = w, -1, -1, runtime.GOMAXPROCS(0)
	q.run.Total, q.run.Began = n, at
	go q.look()
	return nil
}

func (q *inquiry) Tell(events []dispatch.Event) error {
	for i := range events {
		e := &events[i]
		switch e.Kind {
		case dispatch.Started:
			q.open[e.Worker] = e.At
			if q.First < 0 || e.At < q.First {
				q.First = e.At
			}
			continue
		case dispatch.Lost, dispatch.Cached:
			continue
		}
		if e.Attempt == 0 || e.Worker < 0 {
			continue // no attempt has ended
		}
		took := e.Took
		if began, ok := q.open[e.Worker]; ok && took == 0 {
			took = e.At - began
		}
		delete(q.open, e.Worker)
		q.Calls++
		q.Busy += took
		if e.Kind == dispatch.Retried {
			q.Wasted += took
		}
		if q.LongestIndex < 0 || took > q.Longest {
			q.Longest, q.LongestIndex, q.LongestName = took, e.Index, e.Name
		}
	}
	return nil
}

// look asks again and again how many goroutines wait for a CPU.
func (q *inquiry) look() {
	defer close(q.ended)
	cpu := []metrics.Sample{{Name: "/sched/goroutines/runnable:goroutines"}}
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		next.Reset(rand.N(2 * lookEvery))
		select {
		case <-q.end:
			return
		case <-next.C:
		}
		metrics.Read(cpu)
		if v := cpu[0].Value; v.Kind() == metrics.KindUint64 {
			q.Waiting += float64(v.Uint64())
			q.looks++
		}
	}
}

func (q *inquiry) End(took time.Duration, c dispatch.Counts, _ *backend.RunError) error {
	close(q.end)
	<-q.ended
	t := q.tally
	q.Run, q.Summary, q.Elapsed = *q.run, *summaryOf(c), took
	q.Workers = min(t.Hired(), q.run.Workers)
	q.Encode, q.Send, q.Decode, q.Sent = t.Spent(dispatch.Encoding), t.Spent(dispatch.Sending), t.Spent(dispatch.Decoding), t.Bytes()
	q.Held = t.Spent(dispatch.Holding)
	q.Draw = max(0, t.Spent(dispatch.Feeding)-q.Held)
	q.Consume = max(0, t.Spent(dispatch.Consuming)-t.Spent(dispatch.Harvesting))
	q.First = max(q.First, 0)
	if q.looks < minLooks {
		q.Waiting, q.looks = 0, 1
	}
	q.Waiting /= float64(q.looks)
	rest := max(0, q.all()-q.Busy)
	q.Idle = rest
	if q.Encode > 0 {
		q.Idle = min(rest, t.Spent(dispatch.Sleeping))
		q.Handling = rest - q.Idle
	}
	q.judge(q.arguments)
	q.f(q.Explanation)
	return nil
}

// arguments describes the largest argument of the run's first task.
func (q *inquiry) arguments() string {
	mean := fmt.Sprintf("each task is sent %s", size(q.Sent/int64(max(1, q.Calls))))
	w, ok := q.work.(interface{ arguments(i int) []any })
	if !ok || q.run.Total < 1 {
		return mean
	}
	at, most := -1, 0
	first, last := w.arguments(0), w.arguments(q.run.Total-1)
	for i, arg := range first {
		if arg == nil {
			continue
		}
		b, err := wire.AppendValue(nil, reflect.ValueOf(arg))
		if err == nil && len(b) > most {
			at, most = i, len(b)
		}
	}
	if at < 0 || int64(most) < q.Sent/int64(max(1, q.Calls))/2 {
		return mean
	}
	same := ""
	if q.run.Total > 1 && at < len(last) && isSame(first[at], last[at]) {
		same = ", and the same,"
	}
	return fmt.Sprintf("argument %d is %s%s in every task", at, size(int64(most)), same)
}

// isSame reports whether two values are, or refer to, the same memory.
func isSame(a, b any) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	if x.Kind() != y.Kind() {
		return false
	}
	switch x.Kind() {
	case reflect.Slice, reflect.Pointer, reflect.Map:
		return x.Pointer() == y.Pointer()
	case reflect.String:
		return x.String() == y.String()
	}
	return false
}

func (w *array[A, R]) arguments(i int) []any { return w.declare(w.in[i]).args }
