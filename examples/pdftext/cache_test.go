package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/memo"
)

// ways are ways to read PDFs.
var ways = []options{{n: 1}, {n: 3}, {n: 2, processes: true}, {n: 2, processes: true, sandbox: true, memory: 1 << 30, retry: 1}}

// args are the flags of the program that say what o does.
func (o options) args() []string {
	args := []string{"-n", fmt.Sprint(o.n), "-cache", o.cache, "-out", o.out, "-retry", fmt.Sprint(o.retry)}
	if o.processes {
		args = append(args, "-prefer", "processes")
	}
	if o.sandbox {
		args = append(args, "-sandbox", "-memory", "1GB")
	}
	return append(args, o.dir)
}

// opened is in the output of a run that has opened PDFium.
const opened = "PDFium was ready"

// A program that opens PDFium leaves a compiled copy in the user's cache directory. It is the program, as PDFium is open
// in the process of this test.
func TestSecondRunDoesNoPDFWork(t *testing.T) {
	dir := folder(t, map[string]string{"a.pdf": "bropd.pdf", "b.pdf": "fixdif.pdf", "c/b.pdf": "zh-cn/fixdif.pdf"})
	want := t.TempDir()
	if _, err := output(t, t.Context(), options{dir: dir, n: 2, out: want}); err != nil {
		t.Fatal(err)
	}
	for _, o := range ways {
		o.dir, o.cache, o.out = dir, t.TempDir(), t.TempDir()
		first, err := output(t, t.Context(), o)
		if _, cached := table(first); err != nil || cached != nil || !strings.Contains(first, opened) || !strings.Contains(first, ", 0 of them from the cache "+o.cache) {
			t.Errorf("%+v: error %v\n%s", o, err, first)
		}
		if !maps.Equal(texts(t, o.out), texts(t, want)) {
			t.Errorf("%+v: other texts than without a cache", o)
		}

		home := t.TempDir()
		o.out = t.TempDir()
		cmd, stdout, stderr := program(t, o.args()...)
		cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+home, "HOME="+home, "LocalAppData="+home)
		if err := cmd.Run(); err != nil || stderr.Len() > 0 {
			t.Errorf("%+v: %v\n%s", o, err, stderr)
		}
		if printed := stdout.String(); strings.Contains(printed, opened) || !strings.Contains(printed, "\n3 of 3 PDFs read in ") ||
			!strings.Contains(printed, ", 3 of them from the cache "+o.cache) {
			t.Errorf("%+v:\n%s", o, printed)
		}
		if left := texts(t, home); len(left) > 0 {
			t.Errorf("%+v: PDFium was compiled: %q", o, slices.Sorted(maps.Keys(left)))
		}
		if !maps.Equal(texts(t, o.out), texts(t, want)) {
			t.Errorf("%+v: other texts than without a cache", o)
		}
	}
}

// edit changes what is in a file, and nothing else that could be seen of it.
func edit(t *testing.T, path string, change func([]byte)) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	change(b)
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyNewContentIsRead(t *testing.T) {
	dir := folder(t, map[string]string{"a.pdf": "bropd.pdf", "b.pdf": "fixdif.pdf", "c.pdf": "zh-cn/fixdif.pdf"})
	path := func(name string) string { return filepath.Join(dir, name) }
	try := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	cache, out := t.TempDir(), t.TempDir()
	for i, step := range []struct {
		what   string
		do     func()
		cached string
	}{
		{"nothing was there", func() {}, ""},
		{"nothing happened", func() {}, "a.pdf b.pdf c.pdf"},
		{"the texts were removed", func() { try(os.RemoveAll(out)) }, "a.pdf b.pdf c.pdf"},
		{"the texts go elsewhere", func() { out = t.TempDir() }, "a.pdf b.pdf c.pdf"},
		{"one was touched", func() { try(os.Chtimes(path("a.pdf"), time.Time{}, time.Now().Add(time.Hour))) }, "a.pdf b.pdf c.pdf"},
		{"one byte was changed, but no size and no time", func() {
			edit(t, path("a.pdf"), func(b []byte) { b[len(b)-1] ^= '\n' ^ ' ' })
		}, "b.pdf c.pdf"},
		{"one was renamed", func() { try(os.Rename(path("b.pdf"), path("d.pdf"))) }, "a.pdf c.pdf d.pdf"},
		{"one was copied", func() { try(os.Link(path("c.pdf"), path("b.pdf"))) }, "a.pdf b.pdf c.pdf d.pdf"},
		{"one was replaced by another", func() { try(os.Rename(path("d.pdf"), path("a.pdf"))) }, "a.pdf b.pdf c.pdf"},
	} {
		step.do()
		o := ways[i%len(ways)]
		o.dir, o.cache, o.out = dir, cache, out
		printed, err := output(t, t.Context(), o)
		got, cached := table(printed)
		if err != nil || strings.Join(cached, " ") != step.cached {
			t.Errorf("%s: cached %q, want %q; error %v", step.what, cached, step.cached, err)
		}
		if none := len(cached) == len(got); none == strings.Contains(printed, opened) {
			t.Errorf("%s: PDFium was opened: %t", step.what, !none)
		}
		plain := options{dir: dir, n: 2, out: t.TempDir()}
		want, err := rows(t, t.Context(), plain)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: got  %q\nwant %q; error %v", step.what, got, want, err)
		}
		all := texts(t, out)
		for name, text := range texts(t, plain.out) {
			if all[name] != text {
				t.Errorf("%s: %s is another text than without a cache", step.what, name)
			}
		}
	}
}

func TestEqualPDFsAreReadOnce(t *testing.T) {
	dir := folder(t, map[string]string{"a.pdf": "bropd.pdf", "b.pdf": "bropd.pdf", "c.pdf": "bropd.pdf", "d.pdf": "broken.pdf", "e.pdf": "broken.pdf"})
	for _, o := range ways {
		o.dir, o.cache, o.out = dir, t.TempDir(), t.TempDir()
		printed, err := output(t, t.Context(), o)
		if _, cached := table(printed); err != nil || len(cached) != 2 || len(texts(t, o.out)) != 3 {
			t.Errorf("%+v: cached %q, error %v", o, cached, err)
		}
	}
}

func TestFailuresAreTriedAgain(t *testing.T) {
	dir := folder(t, map[string]string{"a.pdf": "bropd.pdf", "b.pdf": "broken.pdf", "c.pdf": "fixdif.pdf", "d.pdf": "locked.pdf"})
	const good = "a.pdf c.pdf"
	for _, o := range []options{
		{n: 9, sabotage: []string{"hang"}},
		{n: 2, processes: true, sabotage: []string{"crash", "hang"}},
		{n: 2, processes: true, sandbox: true, memory: 1 << 30, retry: 1, sabotage: []string{"crash", "read /etc/passwd"}},
	} {
		o.dir, o.cache, o.out, o.timeout = dir, t.TempDir(), t.TempDir(), time.Nanosecond
		if got, err := rows(t, t.Context(), o); err == nil || len(got) != 4+len(o.sabotage) {
			t.Errorf("%+v: %d rows, error %v", o, len(got), err)
		}
		var before map[string]string
		for _, want := range []string{"", good} { // of what had timed out nothing was kept
			o.timeout = 2 * time.Second
			printed, err := output(t, t.Context(), o)
			got, cached := table(printed)
			if err != nil || strings.Join(cached, " ") != want || !strings.Contains(printed, opened) {
				t.Errorf("%+v: cached %q, want %q; error %v", o, cached, want, err)
			}
			if before != nil && !maps.Equal(got, before) {
				t.Errorf("got  %q\nwant %q", got, before)
			}
			before = got
		}
		for name, want := range map[string]string{
			"a.pdf": "8 9248", "b.pdf": "- - PDFium says 3: incorrect format", "c.pdf": "9 14114", "d.pdf": "- - PDFium says 4: invalid password",
		} {
			if before[name] != want {
				t.Errorf("%s: %s", name, before[name])
			}
		}
		o.sabotage = nil // what was added has not changed what is known of the others
		if _, cached := table(must(output(t, t.Context(), o))); strings.Join(cached, " ") != good {
			t.Errorf("%+v: cached %q", o, cached)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// The text of a PDF that changes between the digest and the reading would be found with the digest of the other one.
func TestPDFThatChangesMeanwhileIsAnError(t *testing.T) {
	dir := folder(t, map[string]string{"a.pdf": "bropd.pdf"})
	d := must(find(dir, extract))[0].document
	d.sum = must(digest(d.path))
	got, err := parallel.Map(t.Context(), []document{d}, extract, parallel.NJobs(1))
	if err != nil || got[0] == "" {
		t.Error(err)
	}
	edit(t, d.path, func(b []byte) { b[0]++ })
	_, err = parallel.Map(t.Context(), []document{d}, extract, parallel.NJobs(1))
	if err == nil || !strings.Contains(err.Error(), "it has changed since the run began") {
		t.Error(err)
	}
}

func TestUnreadablePDFIsARow(t *testing.T) {
	dir := folder(t, map[string]string{"a.pdf": "bropd.pdf"})
	for _, name := range []string{"b.pdf", "c.pdf"} { // two that have nothing in common
		if err := os.Symlink("gone", filepath.Join(dir, name)); err != nil {
			t.Skip(err)
		}
	}
	for _, o := range ways {
		o.dir, o.cache, o.out = dir, t.TempDir(), t.TempDir()
		got, err := rows(t, t.Context(), o)
		if err != nil {
			t.Error(err)
		}
		for name, want := range map[string]string{"a.pdf": "8 9248", "b.pdf": "- - open " + filepath.Join(dir, "b.pdf"), "c.pdf": "- - open " + filepath.Join(dir, "c.pdf")} {
			if !strings.HasPrefix(got[name], want) {
				t.Errorf("%s: %s", name, got[name])
			}
		}
	}
}

func TestFolderOfNoUseIsOneWarning(t *testing.T) {
	dir := folder(t, map[string]string{"a.pdf": "bropd.pdf", "b.pdf": "fixdif.pdf", "c.pdf": "zh-cn/fixdif.pdf"})
	full := t.TempDir() // a cache, but nothing can be written
	m := must(memo.New(memo.Options{Dir: full}))
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(full, "writing"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ cache, prefer, want string }{
		{dir, "threads", "nothing is kept for the next run: cache: " + dir + " is not empty and no cache"},
		{filepath.Join(dir, "a.pdf"), "processes", "nothing is kept for the next run: cache: no folder for it"},
		{filepath.Join(dir, "a.pdf", "cache"), "threads", "nothing is kept for the next run: cache: no folder for it"},
		{full, "threads", "using the folder of a memory has failed"},
		{full, "processes", "using the folder of a memory has failed"},
	} {
		cmd, stdout, stderr := program(t, "-cache", c.cache, "-out", "out", "-prefer", c.prefer, dir)
		err := cmd.Run()
		if warning := stderr.String(); err != nil || strings.Count(warning, "\n") != 1 || !strings.Contains(warning, c.want) {
			t.Errorf("%+v: %v\n%s", c, err, warning)
		}
		if !strings.Contains(stdout.String(), "\n3 of 3 PDFs read in ") || strings.Contains(stdout.String(), "from the cache") != (c.cache == full) || len(texts(t, filepath.Join(cmd.Dir, "out"))) != 3 {
			t.Errorf("%+v:\n%s", c, stdout)
		}
	}
}

func TestTextsDependOnTheVersionOfPDFium(t *testing.T) {
	if v := version(); !strings.HasPrefix(v, "1, go-pdfium v") {
		t.Errorf("the version is %q: texts are lost whenever the program is built", v)
	}
}

// known returns the PDFs of dir whose texts are in the cache.
func known(t *testing.T, cache, dir string) (names []string) {
	t.Helper()
	m, texts := (&options{cache: cache}).remember()
	defer m.Close()
	for _, p := range must(find(dir, extract)) {
		p.sum = must(fingerprint(t.Context(), p))
		if texts.Has(p.document) {
			names = append(names, p.name)
		}
	}
	return names
}

func TestStoppedRunGoesOnWhereItStopped(t *testing.T) {
	names := map[string]string{"a.pdf": "bropd.pdf"}
	for c := 'b'; c <= 'g'; c++ {
		names[string(c)+".pdf"] = "fixdif.pdf"
	}
	dir := folder(t, names)
	for name := range names { // PDFs of their own
		f := must(os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_WRONLY, 0))
		if _, err := f.WriteString("% " + name + "\n"); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	out := t.TempDir()
	if _, err := output(t, t.Context(), options{dir: dir, n: 2, out: out}); err != nil {
		t.Fatal(err)
	}
	want := texts(t, out)
	for _, signal := range []os.Signal{os.Interrupt, os.Kill} {
		for _, o := range ways {
			o.dir, o.cache, o.out = dir, filepath.Join(t.TempDir(), "cache"), t.TempDir()
			cmd, stdout, stderr := program(t, o.args()...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline) && len(known(t, o.cache, dir)) < 2; {
				time.Sleep(time.Millisecond)
			}
			if err := cmd.Process.Signal(signal); err != nil {
				cmd.Process.Kill()
				cmd.Wait()
				t.Skip(err) // there is no such signal on this system
			}
			err := cmd.Wait()
			kept := known(t, o.cache, dir)
			t.Logf("%v %+v: %v, kept %q\n%s%s", signal, o, err, kept, stdout, stderr)
			if len(kept) < 2 {
				t.Errorf("%v %+v: nothing was kept", signal, o)
			}
			if done := fmt.Sprintf("\n%d of %d PDFs read in ", len(kept), len(names)); signal == os.Interrupt && !strings.Contains(stdout.String(), done) {
				t.Errorf("%+v: want %q\n%s", o, done, stdout)
			}
			got, err := output(t, t.Context(), o)
			if _, cached := table(got); err != nil || !slices.Equal(cached, kept) {
				t.Errorf("%v %+v: cached %q, want %q; error %v", signal, o, cached, kept, err)
			}
			all := texts(t, o.out)
			maps.DeleteFunc(all, func(name, _ string) bool { return strings.HasSuffix(name, ".tmp") }) // of a program that was killed
			if !maps.Equal(all, want) {
				t.Errorf("%v %+v: other texts than without a cache", signal, o)
			}
		}
	}
}
