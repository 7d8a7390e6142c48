package parallel

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Verdict is what held a run up the most.
type Verdict uint8

const (
	VerdictNothing        Verdict = iota // no task was run
	VerdictBusy                          // nothing: the workers were at work
	VerdictIdle                          // workers had nothing to do; Reason says what they waited for
	VerdictFewTasks                      // there were fewer tasks than workers
	VerdictOneTask                       // one task was under way while others had ended
	VerdictSlowInput                     // the input of a stream
	VerdictSlowConsumer                  // the loop over a stream's results
	VerdictSmallTasks                    // handing tasks over and taking results in cost more than the tasks, or the run was over at once
	VerdictLargeArguments                // sending what tasks are given did
	VerdictSlowStart                     // starting workers
	VerdictManyWorkers                   // there were more workers than CPUs, and they wanted them
	VerdictLargeResults                  // sending what tasks return cost more than the tasks
	VerdictFewWorkers                    // there were fewer workers than CPUs
	VerdictWaiting                       // nothing: the workers were at work, and their tasks waited for something
	VerdictUneven                        // tasks of one length do not divide by the workers
	VerdictLostWorkers                   // workers were lost
)

var verdictNames = [...]string{
	"nothing was run", "the workers were busy", "the workers were idle", "there were few tasks", "one task was long", "the input was slow",
	"the consumer was slow", "the tasks were small", "the arguments were large", "the start was slow", "there were many workers",
	"the results were large", "there were few workers", "the tasks waited", "the tasks do not divide by the workers", "workers were lost",
}

func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return fmt.Sprintf("verdict %d", uint8(v))
}

// judge finds the verdict: what is asked first is what explains the rest. err is what the run returns; args describes
// the largest argument of tasks.
func (x *Explanation) judge(err *RunError, args func() string) {
	_ = x.isNothing(err) || x.isStream() || x.isShort() || x.isOneTask() || x.isLosses() || x.isBytes(args) || x.isSmall() ||
		x.isStart() || x.isFew() || x.isCrowd() || x.isUneven() || x.isIdle() || x.isBusy()
}

// say gives a verdict.
func (x *Explanation) say(v Verdict, format string, args ...any) bool {
	x.Verdict, x.Reason = v, fmt.Sprintf(format, args...)
	return true
}

func (x *Explanation) isNothing(err *RunError) bool {
	switch s := x.Summary; {
	case x.Calls > 0:
		return false
	case err == nil && s.Cached == 1:
		return x.say(VerdictNothing, "the result came from the cache")
	case err == nil && s.Cached > 1:
		return x.say(VerdictNothing, "all %d results came from the cache", s.Cached)
	case err != nil:
		return x.say(VerdictNothing, "no task was run: %s", headline(err))
	}
	return x.say(VerdictNothing, "no task was run")
}

// headline is the first line of an error that says something.
func headline(err error) string {
	first, rest, _ := strings.Cut(strings.TrimPrefix(err.Error(), "parallel: "), "\n")
	if strings.HasSuffix(first, ":") {
		second, _, _ := strings.Cut(rest, "\n")
		first += " " + strings.TrimSpace(second)
	}
	return first
}

func (x *Explanation) isStream() bool {
	draw, consume := ratio(x.Draw, x.Elapsed), ratio(x.Consume, x.Elapsed)
	switch {
	case x.idle() < .3:
		return false
	case consume >= .5 && consume >= draw:
		return x.say(VerdictSlowConsumer, "the consumer was slow: the loop over the results took %s of the time, and workers were idle %s; do less in it, or let tasks do it",
			share(x.Consume, x.Elapsed), share(x.Idle, x.all()))
	case draw >= .5:
		return x.say(VerdictSlowInput, "the input was the bottleneck: drawing it took %s of the time, and workers were idle %s; draw less, and let tasks do the rest",
			share(x.Draw, x.Elapsed), share(x.Idle, x.all()))
	}
	return false
}

func (x *Explanation) isShort() bool {
	return !x.remote() && x.Run.Total >= 0 && x.Elapsed < time.Millisecond &&
		x.say(VerdictSmallTasks, "the run was over after %s, too soon for workers to make a difference", rough(x.Elapsed))
}

func (x *Explanation) isOneTask() bool {
	return x.Calls > 1 && x.Workers > 1 && x.idle() >= .2 && ratio(x.Longest, x.Elapsed) >= .5 && x.Longest >= 3*x.others() &&
		x.say(VerdictOneTask, "one task (%d, %s) held %s of the run, %s, while the others lasted %s on average; split it, or start it first",
			x.LongestIndex, x.LongestName, share(x.Longest, x.Elapsed), rough(x.Longest), rough(x.others()))
}

func (x *Explanation) isLosses() bool {
	return x.Lost > 0 && ratio(x.Busy, x.all()) < .7 && x.Retrying < x.span()/2 &&
		x.say(VerdictLostWorkers, "%s, and %s of the workers' time was spent in tasks; their errors tell what ended them", x.losses(), share(x.Busy, x.all()))
}

// losses says what became of the workers that were lost.
func (x *Explanation) losses() string {
	s := many(x.Lost, "worker") + " were lost"
	if x.Lost == 1 {
		s = "1 worker was lost"
	}
	switch again := min(x.Lost, x.Replaced); {
	case again == 1:
		s += ", and another started in its place"
	case again > 1:
		s += ", and others started in their place"
	}
	return s
}

const (
	largeCall = 256 << 10 // from so many bytes on, one way, a call is large,
	weighty   = 4 << 10   // or, if it lasts less than a millisecond, from so many: they cost more than their message
)

func (x *Explanation) isBytes(args func() string) bool {
	sent, received := x.Sent/int64(max(1, x.Calls)), x.Received/int64(max(1, x.Calls))
	most := max(sent, received)
	if most < weighty || most < largeCall && !x.small() || !x.handled() || ratio(x.Handling, x.working()) < .3 {
		return false
	}
	if received > sent {
		return x.say(VerdictLargeResults, "each task returns %s, and workers spent %s of their time on that; return a path, a key or less, or use Threads",
			size(received), share(x.Handling, x.working()))
	}
	return x.say(VerdictLargeArguments, "%s, and workers spent %s of their time on that; send a path or a key and let tasks load it, or use Threads",
		args(), share(x.Handling, x.working()))
}

// small reports whether tasks are, beside what handing them over costs.
func (x *Explanation) small() bool {
	return x.handled() && x.Handling > x.Busy && x.each() < time.Millisecond
}

// handled reports whether handing tasks over, and taking results in, is worth a word.
func (x *Explanation) handled() bool { return ratio(x.Handling, x.all()) >= .2 }

func (x *Explanation) isSmall() bool {
	return x.small() && x.Calls > x.Workers &&
		x.say(VerdictSmallTasks, "tasks last %s: %s costs %s here; give each more to do, or use Threads", rough(x.each()), x.Run.Backend, times(ratio(x.working(), max(x.Busy, 1))))
}

func (x *Explanation) isStart() bool {
	return x.Handling > 0 && !x.pooled() && ratio(x.First, x.Elapsed) >= .5 &&
		x.say(VerdictSlowStart, "starting workers took %s of the time: the first task began after %s; a Pool keeps them", share(x.First, x.Elapsed), rough(x.First))
}

func (x *Explanation) isFew() bool {
	n := x.Run.Total
	switch part, known := x.computing(); {
	case n < 0 || n > x.Run.Workers || n >= x.CPUs && known && part >= .5:
		return false // there are tasks for all
	case n < x.Run.Workers:
		return x.say(VerdictFewTasks, "there %s, where %d workers were asked for; cut the work finer", only(n), x.Run.Workers)
	case n < x.CPUs && (!known || part >= .5):
		return x.say(VerdictFewTasks, "there %s, on %d CPUs; cut the work finer", only(n), x.CPUs)
	}
	return false
}

func only(tasks int) string {
	if tasks == 1 {
		return "was only 1 task"
	}
	return fmt.Sprintf("were only %d tasks", tasks)
}

func (x *Explanation) isCrowd() bool {
	return !x.remote() && x.Workers > x.CPUs && x.Waiting >= max(1, float64(x.Workers-x.CPUs)/2) &&
		x.say(VerdictManyWorkers, "more workers than CPUs: %d share %d, and %.3g waited for one on average; nothing is gained, and tasks take %s as long",
			x.Workers, x.CPUs, x.Waiting, times(float64(x.Workers)/float64(x.CPUs)))
}

// isUneven is for tasks of one length, in rounds of which the last was not full.
func (x *Explanation) isUneven() bool {
	n, last := x.Run.Total, 0
	if x.Workers > 0 {
		last = n % x.Workers
	}
	if last <= 0 || n < x.Workers || x.Calls != n || x.Longest > 2*x.others() {
		return false
	}
	left := x.Workers - last
	places := (n/x.Workers + 1) * x.Workers
	return x.idle() >= .15 && float64(left)/float64(places) >= x.idle()/2 &&
		x.say(VerdictUneven, "%d tasks do not divide by %d workers: the last round left %d of them idle; cut the work finer", n, x.Workers, left)
}

func (x *Explanation) isIdle() bool {
	return x.idle() >= .2 && x.say(VerdictIdle, "workers were idle %s of the time%s", share(x.Idle, x.all()), x.waited())
}

// waited says what workers waited for that had nothing to do: what accounts for at least half of that.
func (x *Explanation) waited() string {
	half := x.span() / 2
	atEnd, stopped := x.Tail >= x.Idle/2, x.Summary.NotRun+x.Summary.Cut > 0
	switch {
	case x.Retrying >= max(half, x.Awaiting):
		return fmt.Sprintf(": for %s tasks waited to be tried again", rough(x.Retrying))
	case x.Awaiting >= half:
		return fmt.Sprintf(": for %s tasks waited for results that others were making", rough(x.Awaiting))
	case x.Lookup >= x.Idle/2:
		return fmt.Sprintf(": looking results up in the cache took %s of it", share(x.Lookup, x.Idle))
	case x.pooled() && x.Backlog < x.idle()/2:
		return ": no call was submitted meanwhile; submit more of them before waiting for the first"
	case atEnd && stopped:
		return ": the run had been stopped, and they waited for what was under way"
	case atEnd && !x.pooled():
		return ": at the end there was nothing left for them to do; cut the work finer, or start what takes long first"
	case x.shared || x.pooled():
		return ": other runs, or calls, had the CPUs that they may use"
	case x.Run.Total >= 0 && x.each() < time.Microsecond:
		return fmt.Sprintf(": tasks last %s, which is about what it takes to follow them", rough(x.each()))
	case x.Run.Total >= 0:
		return ""
	case x.Held >= half:
		return fmt.Sprintf(": for %s the input had to wait until earlier results had been taken; PreDispatch lets it run ahead", rough(x.Held))
	case x.Draw >= x.Consume:
		return fmt.Sprintf(": they waited for the input, which took %s of the time", share(x.Draw, x.Elapsed))
	}
	return fmt.Sprintf(": they waited for the loop over the results, which took %s of the time", share(x.Consume, x.Elapsed))
}

// isBusy is for a run that nothing held up, but perhaps a lack of workers.
func (x *Explanation) isBusy() bool {
	busy := "workers were busy " + share(x.Busy, x.all()) + " of the time"
	wanted, all := x.Run.Workers, x.Run.Total >= 0 && x.Run.Total <= x.Workers
	if x.Run.Total >= 0 {
		wanted = min(wanted, x.Run.Total)
	}
	switch part, known := x.computing(); {
	case known && part < .5 && all:
		return x.say(VerdictWaiting, "the tasks waited, all at once: %s, and used %.0f%% of the CPU time that they could have had", busy, 100*part)
	case known && part < .5:
		return x.say(VerdictWaiting, "the tasks waited: %s, and used %.0f%% of the CPU time that they could have had; more workers than %d may help", busy, 100*part, x.Workers)
	case x.Workers < wanted:
		return x.say(VerdictBusy, "%s, and %d of %d found something to do, or a free CPU", busy, x.Workers, wanted)
	case x.remote() && x.Run.Backend != "processes": // perhaps on other machines
		return x.say(VerdictBusy, "the run was as fast as its workers allow: %s", busy)
	case x.Run.Workers < min(x.CPUs, NJobs(-1).Workers()):
		return x.say(VerdictFewWorkers, "%s used %d of %d CPUs: take %s", many(x.Workers, "worker"), x.Workers, x.CPUs, x.allCPUs())
	case known:
		return x.say(VerdictBusy, "the run was as fast as %s: %s", allowed(x.CPUs), busy)
	}
	return x.say(VerdictBusy, "the run was as fast as %s, unless its tasks wait: %s", allowed(x.CPUs), busy)
}

func allowed(cpus int) string {
	if cpus == 1 {
		return "this CPU allows"
	}
	return fmt.Sprintf("these %d CPUs allow", cpus)
}

// allCPUs is how a run is told to use them.
func (x *Explanation) allCPUs() string {
	if x.pooled() {
		return "NewPool(-1)"
	}
	return "NJobs(-1)"
}

// computing is how much of the CPUs that tasks could have had they used, or would have if the machine had nothing else to
// do; known is false where that cannot be told. On a busy machine they get little CPU time, and in C they are not seen
// running: what says more is right.
func (x *Explanation) computing() (part float64, known bool) {
	cpus := min(ratio(x.Busy, x.Elapsed), float64(x.CPUs)) // so many workers were at work, on average
	if x.remote() || cpus == 0 || x.Elapsed < minLooks*lookEvery {
		return 0, false
	}
	used := max(x.Wanted, ratio(x.CPU, x.Elapsed))
	return min(1, used/cpus), used > 0
}

// remote reports whether workers share no memory with the run.
func (x *Explanation) remote() bool { return x.Encode > 0 }

// pooled reports whether the run is a pool's single calls.
func (x *Explanation) pooled() bool { return x.Run.Caller == "NewPool" }

// all is the time of all workers together, working what they were not idle of it.
func (x *Explanation) all() time.Duration     { return x.Elapsed * time.Duration(x.Workers) }
func (x *Explanation) working() time.Duration { return x.all() - x.Idle }

// idle is the part of their time that workers were idle, span how long each of them was.
func (x *Explanation) idle() float64       { return ratio(x.Idle, x.all()) }
func (x *Explanation) span() time.Duration { return x.Idle / time.Duration(max(1, x.Workers)) }

// each is how long a call takes, others how long the calls but for the longest took on average.
func (x *Explanation) each() time.Duration { return x.Busy / time.Duration(max(1, x.Calls)) }
func (x *Explanation) others() time.Duration {
	return (x.Busy - x.Longest) / time.Duration(max(1, x.Calls-1))
}

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

// times is how many times as much, with two digits that say something.
func times(f float64) string {
	if f < 10 {
		return fmt.Sprintf("%.2g×", f)
	}
	unit := math.Pow(10, math.Floor(math.Log10(f))-1)
	return fmt.Sprintf("%.0f×", math.Round(f/unit)*unit)
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
