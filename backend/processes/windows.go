//go:build windows

package processes

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/gojoblib/parallel/internal/board"
	"github.com/gojoblib/parallel/internal/build"
	"github.com/gojoblib/parallel/internal/child"
)

// spawn starts the process, with all that it shares with this one. Its right to live is a job: a handle that ends it,
// and what it has started, when it is closed, be it by the end of this process.
func (w *process) spawn(env []string) (err error) {
	var theirs []*os.File // their ends; ours are closed by release
	defer func() {
		for _, f := range theirs {
			f.Close()
		}
		if err != nil {
			w.release()
		}
	}()
	path, err := build.Executable()
	if err != nil {
		return err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	theirs = append(theirs, null)
	errR, errW, err := pipe(windows.PIPE_ACCESS_INBOUND)
	if err != nil {
		return err
	}
	theirs = append(theirs, errW)
	w.stderr = &tail{from: errR}
	in, theirOut, err := pipe(windows.PIPE_ACCESS_INBOUND)
	if err != nil {
		return err
	}
	theirs = append(theirs, theirOut)
	held := &near{Pipes: child.Pipes{In: in}}
	w.conn = &conn{duplex: held}
	out, theirIn, err := pipe(windows.PIPE_ACCESS_OUTBOUND)
	if err != nil {
		return err
	}
	theirs = append(theirs, theirIn)
	held.Out = out
	if held.board, err = temporary(); err != nil {
		return fmt.Errorf("shared memory: %w", err)
	}
	if w.mem, err = child.Map(windows.Handle(held.board.Fd())); err != nil {
		return fmt.Errorf("shared memory: %w", err)
	}
	if _, err = held.board.Seek(board.CrashAt, io.SeekStart); err != nil {
		return err
	}
	shared, err := inheritable(held.board)
	if err != nil {
		return fmt.Errorf("shared memory: %w", err)
	}
	theirs = append(theirs, shared)
	if w.life, err = job(w.pool.MemoryLimit); err != nil {
		return err
	}
	handles := []syscall.Handle{syscall.Handle(theirIn.Fd()), syscall.Handle(theirOut.Fd()), syscall.Handle(shared.Fd())}
	w.proc, err = os.StartProcess(path, args(), &os.ProcAttr{
		Env:   append(env, child.Handles(windows.Handle(handles[0]), windows.Handle(handles[1]), windows.Handle(handles[2]))),
		Files: []*os.File{null, os.Stdout, errW},
		Sys: &syscall.SysProcAttr{
			AdditionalInheritedHandles: handles,
			CreationFlags:              windows.CREATE_NEW_PROCESS_GROUP, // a Ctrl-C is this process's to answer
			HideWindow:                 true,                             // of the console that a program without one would get
		},
	})
	if err != nil {
		return err
	}
	// Main does nothing before it is told to on the link, which is after this. Where the worker may not be in a job, within
	// one that forbids it, the end of the link ends it, and what it has started goes on.
	_ = w.proc.WithHandle(func(h uintptr) {
		_ = windows.AssignProcessToJobObject(windows.Handle(w.life.Fd()), windows.Handle(h))
	})
	w.stderr = newTail(errR)
	return nil
}

// release frees what start has acquired: the file of the board, which is deleted by that, after its memory.
func (w *process) release() {
	if w.mem != nil {
		_ = windows.UnmapViewOfFile(uintptr(unsafe.Pointer(&w.mem[0])))
	}
	if w.conn != nil {
		w.conn.Close()
	}
	if w.life != nil {
		w.life.Close()
	}
	if w.stderr != nil {
		w.stderr.from.Close()
	}
}

// killGroup kills the worker and what it has started. The caller holds the lock.
func (w *process) killGroup() {
	_ = windows.TerminateJobObject(windows.Handle(w.life.Fd()), 1)
	_ = w.proc.Kill()
}

// awaitExit returns when the worker has ended.
func (w *process) awaitExit() {
	_ = w.proc.WithHandle(func(h uintptr) {
		_, _ = windows.WaitForSingleObject(windows.Handle(h), windows.INFINITE)
	})
}

// how the worker ended, as CrashError says it.
func (w *process) how() (code int, signal, reason string) {
	if w.state == nil {
		return -1, "", "it is not known how it ended"
	}
	return w.state.ExitCode(), "", w.state.String()
}

// ExitCode is the status it ended with, -N where signal N has ended it; once it has ended.
func (w *process) ExitCode() int {
	return w.state.ExitCode() // of nil: -1
}

var getProcessMemoryInfo = windows.NewLazySystemDLL("kernel32.dll").NewProc("K32GetProcessMemoryInfo")

// resident is how much memory the worker has been given beside what it shares with others, in bytes, used or not.
func (w *process) resident() (n int64) {
	var c struct { // PROCESS_MEMORY_COUNTERS_EX
		size, faults uint32
		counters     [8]uintptr
		private      uintptr
	}
	c.size = uint32(unsafe.Sizeof(c))
	_ = w.proc.WithHandle(func(h uintptr) {
		if ok, _, _ := getProcessMemoryInfo.Call(h, uintptr(unsafe.Pointer(&c)), uintptr(c.size)); ok != 0 {
			n = int64(c.private)
		}
	})
	return n
}

// near is what this process holds of what it shares with a worker.
type near struct {
	child.Pipes
	board *os.File // deleted when it is closed
}

func (n *near) SetReadDeadline(t time.Time) error { return n.In.SetReadDeadline(t) }

func (n *near) Close() error { return errors.Join(n.Pipes.Close(), n.board.Close()) }

// pipe returns a pipe that we read from (PIPE_ACCESS_INBOUND) or write to (PIPE_ACCESS_OUTBOUND), and its far end, for
// a worker to inherit. Ours heeds deadlines, which needs overlapped operations, which those of os.Pipe have not.
func pipe(access uint32) (ours, theirs *os.File, err error) {
	name, err := windows.UTF16PtrFromString(`\\.\pipe\parallel-` + rand.Text())
	if err != nil {
		return nil, nil, err
	}
	h, err := windows.CreateNamedPipe(name, access|windows.FILE_FLAG_OVERLAPPED|windows.FILE_FLAG_FIRST_PIPE_INSTANCE,
		windows.PIPE_TYPE_BYTE|windows.PIPE_REJECT_REMOTE_CLIENTS, 1, child.PipeSize, child.PipeSize, 0, nil)
	if err != nil {
		return nil, nil, os.NewSyscallError("CreateNamedPipe", err)
	}
	ours = os.NewFile(uintptr(h), "link")
	far := uint32(windows.GENERIC_WRITE)
	if access == windows.PIPE_ACCESS_OUTBOUND {
		far = windows.GENERIC_READ
	}
	inherited := &windows.SecurityAttributes{InheritHandle: 1}
	inherited.Length = uint32(unsafe.Sizeof(*inherited))
	h, err = windows.CreateFile(name, far, 0, inherited, windows.OPEN_EXISTING, 0, 0)
	if err != nil {
		ours.Close()
		return nil, nil, os.NewSyscallError("CreateFile", err)
	}
	return ours, os.NewFile(uintptr(h), "link"), nil
}

// temporary returns a file that nobody else can open, that is deleted when all its handles are closed, by whatever
// ends those who hold them, and that stays in memory as long as there is enough.
func temporary() (*os.File, error) {
	path := filepath.Join(os.TempDir(), "parallel-board-"+rand.Text())
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE, 0, nil, windows.CREATE_NEW,
		windows.FILE_ATTRIBUTE_TEMPORARY|windows.FILE_FLAG_DELETE_ON_CLOSE, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}

// inheritable returns another handle of a file, which a worker can inherit.
func inheritable(f *os.File) (*os.File, error) {
	self := windows.CurrentProcess()
	var h windows.Handle
	if err := windows.DuplicateHandle(self, windows.Handle(f.Fd()), self, &h, 0, true, windows.DUPLICATE_SAME_ACCESS); err != nil {
		return nil, os.NewSyscallError("DuplicateHandle", err)
	}
	return os.NewFile(uintptr(h), f.Name()), nil
}

// memoryAllowance is what a Go program needs beside what its tasks use.
const memoryAllowance = 64 << 20

// job returns a job that ends all processes in it when it is closed. With a limit, none of them is given more memory
// than that and memoryAllowance.
func job(limit int64) (*os.File, error) {
	h, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, os.NewSyscallError("CreateJobObject", err)
	}
	f := os.NewFile(uintptr(h), "job")
	info := new(windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION)
	info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	if limit > 0 {
		info.BasicLimitInformation.LimitFlags |= windows.JOB_OBJECT_LIMIT_PROCESS_MEMORY
		info.ProcessMemoryLimit = uintptr(min(uint64(limit)+memoryAllowance, uint64(^uintptr(0))))
	}
	var still runtime.Pinner // the next call takes a number, which a moving stack would make wrong
	still.Pin(info)
	defer still.Unpin()
	if _, err = windows.SetInformationJobObject(h, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(info)), uint32(unsafe.Sizeof(*info))); err != nil {
		f.Close()
		return nil, os.NewSyscallError("SetInformationJobObject", err)
	}
	return f, nil
}
