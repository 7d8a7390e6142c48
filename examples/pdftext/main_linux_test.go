package main

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestSabotageIsARowEach(t *testing.T) {
	out := t.TempDir()
	got, err := rows(t, t.Context(), options{
		processes: true, sandbox: true, memory: 300 << 20, timeout: 5 * time.Second, sabotage: misdeeds, n: 2, out: out,
	})
	if err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{
		"connect.pdf": "not permitted",
		"crash.pdf":   "its worker ended with exit status 2",
		"exec.pdf":    "not permitted",
		"hang.pdf":    "timed out after 5s",
		"memory.pdf":  "memory limit exceeded",
		"read.pdf":    "open /etc/passwd: permission denied",
	} {
		name = filepath.Join("sabotage", name)
		if row := got[name]; !strings.HasPrefix(row, "- - ") || !strings.Contains(row, want) {
			t.Errorf("%s: %s", name, row)
		}
		delete(got, name)
	}
	if !maps.Equal(got, shippedRows) {
		t.Errorf("got  %q\nwant %q", got, shippedRows)
	}
	if files := texts(t, out); len(files) != 7 {
		t.Errorf("wrote %q", slices.Sorted(maps.Keys(files)))
	}
}

func TestSandboxKeepsToTheDirectory(t *testing.T) {
	dir := folder(t, map[string]string{"in.pdf": "bropd.pdf"})
	out := folder(t, map[string]string{"out.pdf": "bropd.pdf"})
	for name, target := range map[string]string{"a.pdf": "in.pdf", "b.pdf": filepath.Join(out, "out.pdf")} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := rows(t, t.Context(), options{processes: true, sandbox: true, dir: dir, n: 1, out: t.TempDir()})
	if err != nil {
		t.Error(err)
	}
	want := map[string]string{
		"a.pdf": "8 9248", "b.pdf": "- - open " + filepath.Join(dir, "b.pdf") + ": permission denied", "in.pdf": "8 9248",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// A pipe that nobody writes to cannot be opened. With -cache it is not the program that tries.
func TestPipeIsARow(t *testing.T) {
	dir := folder(t, map[string]string{"a.txt": "LICENSES.md"})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("pipe", filepath.Join(dir, "a.pdf")); err != nil {
		t.Fatal(err)
	}
	for _, cache := range []string{"", t.TempDir()} {
		got, err := rows(t, t.Context(), options{processes: true, dir: dir, cache: cache, n: 1, out: t.TempDir(), timeout: time.Second})
		if err == nil || got["a.pdf"] != "- - timed out after 1s" {
			t.Errorf("error %v, row %s", err, got["a.pdf"])
		}
	}
}

// workers returns the worker processes of the process pid that are ready: the sandbox is the last thing on their way.
func workers(pid int) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		args, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		status, _ := os.ReadFile(filepath.Join(dir, "status")) // empty: it has ended
		if bytes.Contains(args, []byte("[parallel worker]")) &&
			bytes.Contains(status, fmt.Appendf(nil, "\nPPid:\t%d\n", pid)) && bytes.Contains(status, []byte("\nSeccomp:\t2\n")) {
			worker, _ := strconv.Atoi(filepath.Base(dir))
			pids = append(pids, worker)
		}
	}
	return pids
}

// As many retries as kills are enough, whomever they hit.
func TestKilledWorkersCostNothing(t *testing.T) {
	out := t.TempDir()
	if _, err := rows(t, t.Context(), options{n: 2, out: out}); err != nil {
		t.Fatal(err)
	}
	want := texts(t, out)
	for _, c := range []struct {
		n     int
		kills uint
	}{{1, 3}, {3, 8}} {
		o := options{processes: true, sandbox: true, n: c.n, retry: c.kills, out: t.TempDir()}
		over, killed := make(chan struct{}), make(chan uint)
		go func() {
			var n uint
			for tick := time.Tick(50 * time.Millisecond); n < c.kills; {
				select {
				case <-tick:
				case <-over:
					killed <- n
					return
				}
				if pids := workers(os.Getpid()); len(pids) > 0 && syscall.Kill(pids[rand.IntN(len(pids))], syscall.SIGKILL) == nil {
					n++
				}
			}
			killed <- n
		}()
		got, err := rows(t, t.Context(), o)
		close(over)
		n := <-killed
		t.Logf("n = %d: %d workers were killed", c.n, n)
		if err != nil || n == 0 {
			t.Errorf("n = %d: %d workers were killed, error %v", c.n, n, err)
		}
		if !maps.Equal(got, shippedRows) {
			t.Errorf("n = %d: got  %q\nwant %q", c.n, got, shippedRows)
		}
		if !maps.Equal(texts(t, o.out), want) {
			t.Errorf("n = %d: other files or texts than with goroutines", c.n)
		}
	}
}

func TestInterruptEndsProcessesThatHang(t *testing.T) {
	cmd, stdout, stderr := program(t, strings.Fields("-prefer processes -sandbox -sabotage=hang -n 1 -timeout 10m -out out")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	last := filepath.Join(cmd.Dir, "out", "zh-cn", "fixdif.pdf.txt") // the hanging file comes after it
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(last); err == nil || time.Now().After(deadline) {
			break
		}
	}
	pids := workers(cmd.Process.Pid)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	err := cmd.Wait()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(stdout.String(), "7 of 10 PDFs read") {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
	if len(pids) != 1 {
		t.Fatalf("the workers are %d", pids)
	}
	for deadline := time.Now().Add(10 * time.Second); syscall.Kill(pids[0], 0) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the worker has survived the program")
		}
	}
}
