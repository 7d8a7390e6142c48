package parallel

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"runtime/metrics"
	"slices"
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
// what Observe does, and a panic of f means what it means there. Whether tasks compute or wait is told by what the whole
// program does meanwhile.
func Explain(f func(Explanation)) Option {
	return option{optExplain, func(c *config) {
		if f == nil {
			c.fault("Explain(nil): give a function, or leave the option out")
		}
		c.explain = f
	}}
}

// Explanation is where the time of a run went. Elapsed × Workers is about Busy + Idle + Handling; the others are beside
// that, and none of them is exact.
type Explanation struct {
	Run     RunInfo
	Summary Summary
	Verdict Verdict
	Reason  string // the verdict in words, with its number and what to do

	Elapsed  time.Duration
	CPUs     int           // GOMAXPROCS
	Workers  int           // that were started, those in place of others not counted
	Replaced int           // that were started in place of others, lost ones or renewed ones
	Lost     int           // that were lost with a task
	Calls    int           // attempts that have ended
	Busy     time.Duration // in tasks, all workers together
	Wasted   time.Duration // of that, in attempts that were followed by another
	Idle     time.Duration // workers with nothing to do,
	Tail     time.Duration // of that, after the last task of each
	// Handling is what lies between the two, where workers share no memory with the run: encoding, sending, waiting for one
	// another, decoding. The next three are parts of it, and overlap with Busy.
	Handling       time.Duration
	Encode, Decode time.Duration
	Send           time.Duration // it waits for workers that do not read
	Sent, Received int64         // bytes

	Longest      time.Duration // attempt
	LongestIndex int
	LongestName  string

	Draw     time.Duration // streams: in the input
	Held     time.Duration // streams: the input waited, since the results it was ahead of had not been taken
	Consume  time.Duration // streams: in the loop over the results
	First    time.Duration // until the first task began
	Retrying time.Duration // while at least one task waited to be tried again,
	Awaiting time.Duration // or for a result that somebody else was making (see Memo)
	Lookup   time.Duration // of Idle, looking up results that are known
	Backlog  float64       // the part of the time in which tasks were there that no worker had begun; 0 where the run was too short to tell

	// What the program has done meanwhile, other runs and all else included.
	CPU     time.Duration // CPU time of this process, without its worker processes; 0 where that is not known
	Wanted  float64       // how many of the CPUs had a goroutine that ran, or waited for one, on average; 0 where the run was too short to tell
	Waiting float64       // how many goroutines waited for a CPU, on average; 0 as before

	shared bool // the run is inside another one, or on a pool, and may use what that leaves it
}

// String returns the explanation as a paragraph.
func (x Explanation) String() string {
	var b strings.Builder
	r := x.Run
	fmt.Fprintf(&b, "%s on %s: %s.", labelOf(r.Caller, r.Func), r.Backend, x.Reason)
	if x.Calls == 0 {
		return b.String()
	}
	if x.Lost > 0 && x.Verdict != VerdictLostWorkers {
		fmt.Fprintf(&b, " %s.", x.losses())
	}
	fmt.Fprintf(&b, " %s on %s took %s: %s each, %s per second.", many(x.Calls, "call"), many(x.Workers, "worker"), rough(x.Elapsed),
		rough(x.each()), strings.TrimSuffix(perSecond(float64(x.Calls)/max(x.Elapsed.Seconds(), 1e-9)), "/s"))
	fmt.Fprintf(&b, " Of the workers' time, %s was spent in tasks", share(x.Busy, x.all()))
	if x.Wasted > 0 {
		fmt.Fprintf(&b, " (%s in attempts that were repeated)", share(x.Wasted, x.all()))
	}
	if x.Handling > 0 {
		fmt.Fprintf(&b, ", %s between them (encoding %s, sending %s, decoding %s; %s sent, %s received)", share(x.Handling, x.all()),
			rough(x.Encode), rough(x.Send), rough(x.Decode), size(x.Sent), size(x.Received))
	}
	fmt.Fprintf(&b, ", %s idle.", share(x.Idle, x.all()))
	if r.Total < 0 && !x.pooled() {
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

// inquiry follows a run in order to explain it.
type inquiry struct {
	Explanation
	run   *RunInfo
	f     func(Explanation)
	tally *dispatch.Tally
	work  dispatch.Work
	count func() dispatch.Counts // how far the run has come
	looks int
	end   chan struct{} // closed when there is no further look
	ended chan struct{} // closed after the last one

	open   map[int]time.Duration // when the attempt under way on a worker began
	left   map[int]time.Duration // when a worker's last attempt ended
	gone   map[int]bool          // workers that were lost
	failed map[int]time.Duration // when a task failed that waits to be tried again
	pauses []pause               // in which tasks did so
}

const (
	// lookEvery is how often it is asked on average how many goroutines run and wait. The moments are random: tasks that
	// sleep wake together, and what woke with them, a timer or an event, would find them all in the queue.
	lookEvery = 5 * time.Millisecond
	minLooks  = 4 // fewer say nothing
)

func newInquiry(f func(Explanation), run *RunInfo, tally *dispatch.Tally, shared bool) *inquiry {
	own := *run // an Observer may be reading it
	return &inquiry{
		Explanation: Explanation{shared: shared},
		run:         &own, f: f, tally: tally, end: make(chan struct{}), ended: make(chan struct{}),
		open: map[int]time.Duration{}, left: map[int]time.Duration{}, gone: map[int]bool{}, failed: map[int]time.Duration{},
	}
}

func (q *inquiry) Begin(w dispatch.Work, n int, at time.Time) error {
	q.work, q.First, q.LongestIndex, q.CPUs = w, -1, -1, runtime.GOMAXPROCS(0)
	q.run.Total, q.run.Began = n, at
	q.CPU = processTime()
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
			if e.Attempt > 1 {
				q.paused(e.Index, e.At)
			}
		case dispatch.Lost:
			q.gone[e.Worker] = true
		case dispatch.Cached:
		default:
			if e.Attempt > 0 && e.Worker >= 0 { // else no attempt has ended
				q.add(e)
			}
		}
	}
	return nil
}

// add counts an attempt that has ended.
func (q *inquiry) add(e *dispatch.Event) {
	took := e.Took
	if began, ok := q.open[e.Worker]; ok && took == 0 {
		took = e.At - began
	}
	delete(q.open, e.Worker)
	q.left[e.Worker] = e.At
	q.Calls++
	q.Busy += took
	if e.Kind == dispatch.Retried {
		q.Wasted += took
		q.failed[e.Index] = e.At
	}
	if q.LongestIndex < 0 || took > q.Longest {
		q.Longest, q.LongestIndex, q.LongestName = took, e.Index, e.Name
	}
}

// pause is a time in which a task waited to be tried again.
type pause struct{ from, to time.Duration }

// paused notes that task i, which had failed, did not wait any more at that time.
func (q *inquiry) paused(i int, to time.Duration) {
	p := pause{q.failed[i], to}
	delete(q.failed, i)
	if p.to-p.from < time.Millisecond {
		return // it was tried again at once
	}
	if n := len(q.pauses) - 1; n >= 0 && p.from <= q.pauses[n].to && q.pauses[n].from <= p.to { // as most do
		q.pauses[n] = pause{min(p.from, q.pauses[n].from), max(p.to, q.pauses[n].to)}
		return
	}
	q.pauses = append(q.pauses, p)
}

// retrying is how long at least one task waited to be tried again.
func (q *inquiry) retrying() (sum time.Duration) {
	slices.SortFunc(q.pauses, func(a, b pause) int { return cmp.Compare(a.from, b.from) })
	var upTo time.Duration
	for _, p := range q.pauses {
		sum += max(0, p.to-max(p.from, upTo))
		upTo = max(upTo, p.to)
	}
	return sum
}

// tail is how long workers were there after their last tasks.
func (q *inquiry) tail() (sum time.Duration) {
	for worker, at := range q.left {
		if !q.gone[worker] {
			sum += max(0, q.Elapsed-at)
		}
	}
	if idlers := q.Workers - len(q.left); idlers > 0 && len(q.gone) == 0 {
		sum += time.Duration(idlers) * q.Elapsed
	}
	return sum
}

// look asks again and again how many goroutines run and wait for a CPU, and whether tasks wait for a worker.
func (q *inquiry) look() {
	defer close(q.ended)
	cpu := []metrics.Sample{{Name: "/sched/goroutines/running:goroutines"}, {Name: "/sched/goroutines/runnable:goroutines"}}
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
		if cpu[0].Value.Kind() == metrics.KindUint64 && cpu[1].Value.Kind() == metrics.KindUint64 {
			running, waiting := float64(cpu[0].Value.Uint64())-1, float64(cpu[1].Value.Uint64()) // without who looks
			q.Wanted += min(max(0, running)+waiting, float64(q.CPUs))                            // many that wake together keep them busy for a moment only
			q.Waiting += waiting
			q.looks++
		}
		if q.count().NotRun > 0 {
			q.Backlog++
		}
	}
}

func (q *inquiry) End(took time.Duration, c dispatch.Counts, err *backend.RunError) error {
	close(q.end)
	<-q.ended
	q.Run, q.Summary, q.Elapsed = *q.run, *summaryOf(c), took
	q.CPU = max(0, processTime()-q.CPU)
	if q.looks < minLooks {
		q.Wanted, q.Waiting, q.Backlog, q.looks = 0, 0, 0, 1
	}
	q.Wanted /= float64(q.looks)
	q.Waiting /= float64(q.looks)
	q.Backlog /= float64(q.looks)
	q.addUp()
	q.judge(err, q.arguments)
	q.f(q.Explanation)
	return nil
}

// addUp takes over what the run has counted, and shares the workers' time out.
func (q *inquiry) addUp() {
	t := q.tally
	q.Workers = min(t.Hired(), q.run.Workers)
	if q.run.Total >= 0 {
		q.Workers = min(q.Workers, q.run.Total)
	}
	q.Replaced, q.Lost = t.Hired()-q.Workers, len(q.gone)
	q.Encode, q.Send, q.Decode = t.Spent(dispatch.Encoding), t.Spent(dispatch.Sending), t.Spent(dispatch.Decoding)
	q.Sent, q.Received = t.Bytes(), t.Received()
	q.Held, q.Awaiting = t.Spent(dispatch.Holding), t.Spent(dispatch.Awaiting)
	q.Draw = max(0, t.Spent(dispatch.Feeding)-q.Held)
	q.Consume = max(0, t.Spent(dispatch.Consuming)-t.Spent(dispatch.Harvesting))
	q.First = max(q.First, 0)
	for i := range q.failed { // it still waits
		q.paused(i, q.Elapsed)
	}
	q.Retrying = q.retrying()
	rest := max(0, q.all()-q.Busy)
	switch {
	case !q.remote():
		q.Idle = rest
	case q.pooled(): // a worker without calls leaves, and does not say when
		q.Handling = min(rest, q.Encode+q.Send+q.Decode)
		q.Idle = rest - q.Handling
	default:
		q.Idle = min(rest, t.Spent(dispatch.Sleeping))
		q.Handling = rest - q.Idle
	}
	q.Tail, q.Lookup = min(q.Idle, q.tail()), min(q.Idle, t.Spent(dispatch.Recalling))
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
