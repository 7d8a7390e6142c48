//go:build unix

package processes

import (
	"fmt"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gojoblib/parallel/internal/board"
	"github.com/gojoblib/parallel/internal/build"
)

// spawn starts the process, with all that it shares with this one.
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
	errR, errW, err := os.Pipe()
	if err != nil {
		return err
	}
	theirs = append(theirs, errW)
	w.stderr = &tail{from: errR}
	near, far, err := socketpair()
	if err != nil {
		return err
	}
	theirs = append(theirs, far)
	w.conn = &conn{duplex: near}
	lives, life, err := os.Pipe()
	if err != nil {
		return err
	}
	theirs = append(theirs, lives)
	w.life = life
	shared, err := anonymous()
	if err != nil {
		return fmt.Errorf("shared memory: %w", err)
	}
	theirs = append(theirs, shared)
	if w.mem, err = unix.Mmap(int(shared.Fd()), 0, board.Size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("shared memory: %w", err)
	}
	if _, err = shared.Seek(board.CrashAt, io.SeekStart); err != nil {
		return err
	}
	w.proc, err = os.StartProcess(path, args(), &os.ProcAttr{
		Env:   env,
		Files: []*os.File{null, os.Stdout, errW, far, shared, lives},
		Sys:   &syscall.SysProcAttr{Setpgid: true}, // what it starts ends with it; a Ctrl-C is this process's to answer
	})
	if err != nil {
		return err
	}
	w.stderr = newTail(errR)
	return nil
}

// release frees what start has acquired.
func (w *process) release() {
	if w.conn != nil {
		w.conn.Close()
	}
	if w.life != nil {
		w.life.Close()
	}
	if w.stderr != nil {
		w.stderr.from.Close()
	}
	if w.mem != nil {
		_ = unix.Munmap(w.mem)
	}
}

// killGroup kills the worker and what it has started. The caller holds the lock.
func (w *process) killGroup() {
	_ = unix.Kill(-w.proc.Pid, unix.SIGKILL)
	_ = unix.Kill(w.proc.Pid, unix.SIGKILL)
}

// socketpair returns the two ends of a connection that no other program inherits.
func socketpair() (near, far *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fds[0])
		unix.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	for _, fd := range fds { // large messages take fewer wake-ups; the system may give less
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 1<<20)
	}
	if err = unix.SetNonblock(fds[0], true); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(fds[0]), "link"), os.NewFile(uintptr(fds[1]), "link"), nil
}

// how the worker ended, as CrashError says it.
func (w *process) how() (code int, signal, reason string) {
	if w.state == nil {
		return -1, "", "it is not known how it ended"
	}
	if ws, ok := w.state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return -1, ws.Signal().String(), w.state.String()
	}
	return w.state.ExitCode(), "", w.state.String()
}

// ExitCode is the status it ended with, -N where signal N has ended it; once it has ended.
func (w *process) ExitCode() int {
	if ws, ok := w.state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return -int(ws.Signal())
	}
	return w.state.ExitCode() // of nil: -1
}
