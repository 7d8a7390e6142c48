package parallel

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
	"weak"

	"github.com/gojoblib/parallel/backend"
	"github.com/gojoblib/parallel/internal/dispatch"
)

// Trace writes what happens to w in the format of Chrome's trace viewer, which ui.perfetto.dev opens: each run is a
// process with a track per worker; each attempt is a slice with the task's name, and its index, attempt and outcome as
// arguments; a retry, a lost worker and a result from a cache are marks on them. An attempt is written when it has
// ended.
//
// w gets one JSON document, an array, which is complete when the run returns, also one that failed. Runs at the same
// time that share the option, by With, share the document; so do all runs, also later ones, that are given the same
// *os.File. Any other w gets a document for each, one after the other. (Do not give one such w to two Traces.)
//
// Writing is buffered, and happens on a goroutine of the run's, not on its workers; a w that is slow slows the run. The
// first error of w ends the trace and is the Cause of the run's error; tasks and results are not touched. Each attempt
// costs some 150 bytes and, on two threads, about 90 ns.
func Trace(w io.Writer) Option {
	var t *tracer
	if !isNil(w) {
		t = tracerOf(w)
	}
	return option{optTrace, func(c *config) {
		if t == nil {
			c.fault("Trace(nil): give a writer, as a file, or leave the option out")
		}
		c.trace = t
	}}
}

// tracer is a Trace: where to, and what is there already.
type tracer struct {
	w io.Writer
	*document
}

// document is what one writer gets:
//
//	[ ── events of runs, buffer by buffer ── ]         a run more: back over the ], if w is a file
type document struct {
	mu    sync.Mutex
	runs  int       // under way
	open  bool      // it has begun, and not ended
	epoch time.Time // what times are counted from: the first run's beginning
	end   int64     // where in a file the last document ends; 0: not known
	empty bool      // the document has no event yet
	err   error
}

// documents are those of the files that there are, which it does not keep open.
var documents struct {
	sync.Mutex
	of map[weak.Pointer[os.File]]*document
}

func tracerOf(w io.Writer) *tracer {
	f, ok := w.(*os.File)
	if !ok {
		return &tracer{w, new(document)}
	}
	documents.Lock()
	defer documents.Unlock()
	key := weak.Make(f)
	d := documents.of[key]
	if d == nil {
		if documents.of == nil {
			documents.of = map[weak.Pointer[os.File]]*document{}
		}
		d = new(document)
		documents.of[key] = d
		runtime.AddCleanup(f, func(key weak.Pointer[os.File]) {
			documents.Lock()
			defer documents.Unlock()
			delete(documents.of, key)
		}, key)
	}
	return &tracer{w, d}
}

const traceEnd = "\n]\n"

// file is what can be gone back in.
type file interface {
	io.Seeker
	Truncate(size int64) error
}

// enter counts a run in: at its beginning, of which the tracer hears only later, when runs inside of it may have ended.
func (t *tracer) enter() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.epoch.IsZero() {
		t.epoch = time.Now()
	}
	t.runs++
}

// begin begins a document, if there is none, for a run that began at that time.
func (t *tracer) begin(at time.Time) (since time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.open && !t.reopen() {
		t.empty, t.err = true, nil
		t.write([]byte("["))
	}
	t.open = true
	return at.Sub(t.epoch)
}

// reopen takes the end of the last document back.
func (t *tracer) reopen() bool {
	f, ok := t.w.(file)
	if !ok || t.end == 0 {
		return false
	}
	if at, err := f.Seek(0, io.SeekCurrent); err != nil || at != t.end {
		return false // somebody else has written
	}
	at, err := f.Seek(-int64(len(traceEnd)), io.SeekCurrent)
	if err == nil {
		if err = f.Truncate(at); err != nil {
			_, _ = f.Seek(t.end, io.SeekStart) // where it was
		}
	}
	return err == nil
}

// add appends events to the document: each begins with a comma and a newline.
func (t *tracer) add(events []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.empty && len(events) > 0 {
		t.empty = false
		events = events[1:]
	}
	t.write(events)
	return t.err
}

// leave ends the document, after the last run.
func (t *tracer) leave() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.runs--; t.runs > 0 {
		return t.err
	}
	t.write([]byte(traceEnd))
	t.open, t.end = false, 0
	if f, ok := t.w.(file); ok && t.err == nil {
		if at, err := f.Seek(0, io.SeekCurrent); err == nil {
			t.end = at
		}
	}
	return t.err
}

func (t *tracer) write(b []byte) {
	if t.err != nil || len(b) == 0 {
		return
	}
	defer func() {
		if v := recover(); v != nil {
			t.err = fmt.Errorf("writing the trace: %w", &PanicError{Value: v, Stack: debug.Stack()})
		}
	}()
	n, err := t.w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		t.err = fmt.Errorf("writing the trace: %w", err)
	}
}

const (
	traceBuffer = 64 << 10    // bytes that are written at once
	traceDelay  = time.Second // after which fewer are
)

// track traces one run.
type track struct {
	*tracer
	run     *RunInfo
	since   time.Duration // the run began so long after the document's epoch
	buf     []byte
	flushed time.Duration // when it was last written, since the run's beginning
	strips  []strip       // by number
}

// strip is a track of its own.
type strip struct {
	named   bool
	name    string        // of the last slice on it, and
	head    []byte        // how that begins, up to its time
	open    bool          // an attempt is under way
	started time.Duration // since then
	drawn   time.Duration // up to here
}

func (t *tracer) track(run *RunInfo) *track { return &track{tracer: t, run: run} }

func (t *track) Begin(_ dispatch.Work, _ int, at time.Time) error {
	t.since = t.begin(at)
	t.meta("process_name", 0, fmt.Sprintf("%s, run %d: %d workers (%s)", labelOf(t.run.Caller, t.run.Func), t.run.ID, t.run.Workers, t.run.Backend))
	t.meta("thread_name", 0, "run")
	return t.err
}

// meta names a process or a track.
func (t *track) meta(what string, tid int, name string) {
	t.buf = fmt.Appendf(t.buf, `,`+"\n"+`{"name":%q,"ph":"M","pid":%d,"tid":%d,"args":{"name":`, what, t.run.ID, tid)
	t.buf = append(appendJSON(t.buf, name), "}}"...)
}

func (t *track) Tell(events []dispatch.Event) error {
	for i := range events {
		e := &events[i]
		w := t.worker(e.Worker)
		switch e.Kind {
		case dispatch.Started:
			w.open, w.started = true, e.At
		case dispatch.Cached:
			t.mark(e, "cached")
		case dispatch.Lost:
			t.mark(e, "lost")
		case dispatch.Retried:
			t.slice(e, w, "retried")
			t.mark(e, "retried")
		case dispatch.Finished:
			t.slice(e, w, "finished")
		case dispatch.Failed:
			t.finish(e, w, "failed")
		case dispatch.Cut:
			t.finish(e, w, "cut")
		}
		if len(t.buf) >= traceBuffer {
			t.flush(e.At)
		}
	}
	if last := events[len(events)-1].At; last-t.flushed >= traceDelay {
		t.flush(last)
	}
	return t.err
}

func (t *track) flush(at time.Duration) {
	_ = t.add(t.buf) // it stays
	t.buf, t.flushed = t.buf[:0], at
}

// worker returns the track of a worker, which appears with its first event; that of none is the run's own.
func (t *track) worker(number int) *strip {
	for number+1 >= len(t.strips) {
		t.strips = append(t.strips, strip{})
	}
	w := &t.strips[number+1]
	if !w.named && number >= 0 {
		w.named = true
		t.meta("thread_name", number+1, "worker "+strconv.Itoa(number))
	}
	return w
}

// finish draws an attempt, or a call's end between two.
func (t *track) finish(e *dispatch.Event, w *strip, outcome string) {
	if w.open && e.Attempt > 0 {
		t.slice(e, w, outcome)
	} else {
		t.mark(e, outcome)
	}
}

// slice draws the attempt that ends with e.
func (t *track) slice(e *dispatch.Event, w *strip, outcome string) {
	from := e.At - e.Took
	if e.Took == 0 && w.open {
		from = w.started
	}
	from = min(max(from, w.drawn), e.At) // slices of a track that overlap are taken for nested
	w.open, w.drawn = false, e.At
	if w.head == nil || w.name != e.Name {
		w.name = e.Name
		w.head = appendJSON(append(w.head[:0], `,`+"\n"+`{"name":`...), e.Name)
		w.head = fmt.Appendf(w.head, `,"cat":"task","ph":"X","pid":%d,"tid":%d,"ts":`, t.run.ID, e.Worker+1)
	}
	b := t.buf
	b = append(b, w.head...)
	b = appendMicros(b, t.since+from)
	b = append(b, `,"dur":`...)
	b = appendMicros(b, e.At-from)
	b = append(b, `,"args":{"index":`...)
	b = strconv.AppendInt(b, int64(e.Index), 10)
	b = append(b, `,"attempt":`...)
	b = strconv.AppendInt(b, int64(e.Attempt), 10)
	b = append(b, `,"outcome":"`...)
	b = append(b, outcome...)
	b = append(b, '"')
	t.buf = append(appendError(b, e.Err), "}}"...)
}

// mark draws a moment.
func (t *track) mark(e *dispatch.Event, what string) {
	b := fmt.Appendf(t.buf, `,`+"\n"+`{"name":%q,"cat":"task","ph":"i","s":"t","pid":%d,"tid":%d,"ts":`, what, t.run.ID, max(e.Worker, -1)+1)
	b = appendMicros(b, t.since+e.At)
	b = append(b, `,"args":{"task":`...)
	b = appendJSON(b, e.Name)
	b = fmt.Appendf(b, `,"index":%d,"attempt":%d`, e.Index, e.Attempt)
	t.buf = append(appendError(b, e.Err), "}}"...)
}

func (t *track) End(took time.Duration, c dispatch.Counts, err *backend.RunError) error {
	b := t.buf
	b = appendJSON(append(b, `,`+"\n"+`{"name":`...), t.run.Caller)
	b = fmt.Appendf(b, `,"cat":"run","ph":"X","pid":%d,"tid":0,"ts":`, t.run.ID)
	b = appendMicros(b, t.since)
	b = append(b, `,"dur":`...)
	b = appendMicros(b, took)
	b = fmt.Appendf(b, `,"args":{"done":%d,"failed":%d,"cached":%d,"retried":%d,"cut":%d,"notRun":%d`, c.Done, c.Failed, c.Cached, c.Retried, c.Cut, c.NotRun)
	if err != nil {
		b = appendError(b, err)
	}
	b = append(b, "}}"...)
	t.buf = b
	t.flush(took)
	return t.leave()
}

// appendError appends what an attempt failed with, in short.
func appendError(b []byte, err error) []byte {
	if err == nil {
		return b
	}
	const most = 300
	text := err.Error()
	if len(text) > most {
		text = text[:most] + "…"
	}
	return appendJSON(append(b, `,"error":`...), text)
}

// appendMicros appends d in microseconds, exactly.
func appendMicros(b []byte, d time.Duration) []byte {
	if d < 0 {
		b, d = append(b, '-'), -d
	}
	b = strconv.AppendInt(b, int64(d/1000), 10)
	ns := int(d % 1000)
	return append(b, '.', byte('0'+ns/100), byte('0'+ns/10%10), byte('0'+ns%10))
}

// appendJSON appends s as a JSON string.
func appendJSON(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= utf8.RuneSelf || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // strings can always be
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
