//go:build amd64 || arm64

package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// orderVariable makes a process that runs this test binary a child, which does what the variable's JSON says.
const orderVariable = "SANDBOX_TEST_ORDER"

// raceExitsAtOnce spares each child the second that the race detector waits at its end.
const raceExitsAtOnce = "GORACE=atexit_sleep_ms=0"

// order is what a child does: it applies Rules one after the other, and then plays its Role.
type order struct {
	Role  string
	Rules []Rules
	Dir   string   // the test's tree
	TCP   string   // where the test listens
	Only  []string // the probes to try; all if empty. Some do harm where they are not denied.
}

// news is what a child of a role that answers prints: with results by probe and by thread.
type news struct {
	Missing []string
	Err     string
	Results map[string]map[string]string
	Took    time.Duration // by Apply
	Call    [2]float64    // ns of a system call before and after
}

func TestMain(m *testing.M) {
	if text := os.Getenv(orderVariable); text != "" {
		var o order
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			panic(err)
		}
		o.play()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
			fmt.Fprintln(os.Stderr, "a child was left behind:", pid, err)
			code = 1
		}
		os.Exit(code)
	}))
}

// tree makes the directory that the tests are about, for that user, with a copy of the test binary.
func tree(t testing.TB, user *syscall.Credential) string {
	dir, err := os.MkdirTemp("", "sandbox")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	for _, sub := range []string{"bin", "read", "write", "write/sub", "outside"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
	}
	for _, file := range []string{"read/file", "single", "writable", "write/sub/file", "outside/file"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte("text"), 0o644))
	}
	require.NoError(t, os.Symlink("/etc/passwd", filepath.Join(dir, "read/link")))
	exe, err := os.ReadFile("/proc/self/exe")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bin/self"), exe, 0o755))
	require.NoError(t, os.Link(filepath.Join(dir, "bin/self"), filepath.Join(dir, "outside/self")))
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || user == nil {
			return err
		}
		return os.Lchown(path, int(user.Uid), int(user.Gid))
	}))
	require.NoError(t, os.Chmod(dir, 0o755))
	return dir
}

// command returns a child that is not started. It does not outlive the test, which fails if it hangs.
func (o order) command(t testing.TB, user *syscall.Credential) *exec.Cmd {
	ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errors.New("the child hangs"))
	t.Cleanup(func() {
		assert.NoError(t, context.Cause(ctx))
		cancel()
	})
	text, err := json.Marshal(o)
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, filepath.Join(o.Dir, "bin/self"))
	cmd.Env = []string{orderVariable + "=" + string(text), raceExitsAtOnce}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: user, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// answer runs a child and returns what it prints.
func (o order) answer(t testing.TB, user *syscall.Credential) news {
	runtime.LockOSThread() // Pdeathsig is about this thread
	defer runtime.UnlockOSThread()
	cmd := o.command(t, user)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.String())
	var n news
	require.NoError(t, json.Unmarshal(out, &n), "%s", out)
	return n
}

// asUsers runs a test as this user and, if that is root, also as nobody.
func asUsers(t *testing.T, test func(t *testing.T, user *syscall.Credential)) {
	t.Run("self", func(t *testing.T) { test(t, nil) })
	if os.Getuid() == 0 {
		t.Run("nobody", func(t *testing.T) { test(t, &syscall.Credential{Uid: 65534, Gid: 65534}) })
	}
}

func skipUnlessAllIsEnforced(t testing.TB) {
	if missing := (Rules{}).missing(); len(missing) > 0 {
		t.Skip("this system cannot enforce:", strings.Join(missing, "; "))
	}
}

// The three sets of rules that the probes are tried under.
func closed(dir string) Rules {
	return Rules{Read: []string{dir + "/read", dir + "/single"}, Write: []string{dir + "/write", dir + "/writable"}}
}

func readonly(dir string) Rules { return Rules{Read: closed(dir).Read} }

func open(dir string) Rules {
	r := closed(dir)
	r.Network, r.Exec = true, true
	r.Read = append(r.Read, dir+"/bin")
	for _, libraries := range []string{"/lib", "/lib64", "/usr/lib"} { // of a dynamically linked test binary
		if _, err := os.Stat(libraries); err == nil {
			r.Read = append(r.Read, libraries)
		}
	}
	return r
}

// probe is one thing a restricted process may try.
type probe struct {
	name    string
	allowed string // the sets of rules under which it works
	try     func() error
	only    string // the sets under which it is tried; all if empty
}

const all = "closed readonly open"

func (p probe) triedUnder(set string) bool {
	return p.only == "" || slices.Contains(strings.Fields(p.only), set)
}

// probes are what the thread of that name tries.
func (o order) probes(thread string) []probe {
	in := func(path string) string { return filepath.Join(o.Dir, path) }
	read := func(path string) func() error {
		return func() error { _, err := os.ReadFile(path); return err }
	}
	list := func(path string) func() error {
		return func() error { _, err := os.ReadDir(path); return err }
	}
	write := func(path string) func() error {
		return func() error { return os.WriteFile(path, []byte("new"), 0o644) }
	}
	socket := func(domain, kind, protocol int) func() error {
		return func() error {
			fd, err := unix.Socket(domain, kind, protocol)
			if err == nil {
				err = unix.Close(fd)
			}
			return err
		}
	}
	pair := func(domain, kind int) func() error {
		return func() error {
			fds, err := unix.Socketpair(domain, kind|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			_, err = unix.Write(fds[0], []byte("x"))
			return errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
		}
	}
	listen := func(multipath bool) func() error {
		return func() error {
			var c net.ListenConfig
			c.SetMultipathTCP(multipath)
			return closing(c.Listen(context.Background(), "tcp", "127.0.0.1:0"))
		}
	}
	call := func(number uintptr, args ...uintptr) func() error {
		return func() error {
			args := append(args, ^uintptr(0), ^uintptr(0), ^uintptr(0), ^uintptr(0), ^uintptr(0), ^uintptr(0))
			_, _, errno := unix.Syscall6(number, args[0], args[1], args[2], args[3], args[4], args[5])
			if errno != 0 {
				return errno
			}
			return nil
		}
	}
	run := func(path, role string) *exec.Cmd {
		text, _ := json.Marshal(order{Role: role})
		return &exec.Cmd{Path: path, Env: []string{orderVariable + "=" + string(text), raceExitsAtOnce}, Dir: "/"}
	}

	return []probe{
		{name: "read a file in Read", allowed: all, try: read(in("read/file"))},
		{name: "read a file that is in Read itself", allowed: all, try: read(in("single"))},
		{name: "list a directory in Read", allowed: all, try: list(in("read"))},
		{name: "write a file in Read", try: write(in("read/file"))},
		{name: "make a file in Read", try: write(in("read/" + thread))},
		{name: "read, make, move, change and remove a file in Write", allowed: "closed open", try: func() error {
			name, moved := in("write/"+thread), in("write/sub/"+thread)
			return errors.Join(write(name)(), write(name)(), read(name)(), os.Chmod(name, 0o600), os.Rename(name, moved), os.Remove(moved))
		}},
		{name: "make a directory in Write", allowed: "closed open", try: func() error {
			return errors.Join(os.Mkdir(in("write/d"+thread), 0o755), os.Remove(in("write/d"+thread)))
		}},
		{name: "write a file that is in Write itself", allowed: "closed open", try: write(in("writable"))},
		{name: "remove a file that is in Write itself", try: func() error { return os.Remove(in("writable")) }},
		{name: "make a device file", try: func() error {
			return unix.Mknod(in("write/device"+thread), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0)))
		}},

		{name: "read /etc/passwd", try: read("/etc/passwd")},
		{name: "read through /proc/self/root", try: read("/proc/self/root/etc/passwd")},
		{name: "read through /proc/self/cwd", try: read("/proc/self/cwd/etc/passwd")},
		{name: "read through a link", try: read(in("read/link"))},
		{name: "read through dots", try: read(in("read") + "/../outside/file")},
		{name: "read through a descriptor of the path", try: func() error {
			fd, err := unix.Open("/etc/passwd", unix.O_PATH|unix.O_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("%v", err) // which is not the denial that is looked for
			}
			defer unix.Close(fd)
			return read("/proc/self/fd/" + strconv.Itoa(fd))()
		}},
		{name: "read through a link of its own", try: func() error {
			link := in("write/link" + thread)
			if err := os.Symlink("/etc/passwd", link); err != nil {
				return err
			}
			return errors.Join(read(link)(), os.Remove(link))
		}},
		{name: "list /", try: list("/")},
		{name: "read about another process", try: read(fmt.Sprintf("/proc/%d/cmdline", os.Getppid()))},
		{name: "write its own memory", try: func() error { return closing(os.OpenFile("/proc/self/mem", os.O_RDWR, 0)) }},
		{name: "see that a file exists", allowed: all, try: func() error { _, err := os.Stat("/etc/passwd"); return err }},

		{name: "write outside", try: write(in("outside/file"))},
		{name: "truncate outside", try: func() error { return os.Truncate(in("outside/file"), 1) }},
		{name: "make a file outside", try: write(in("outside/" + thread))},
		{name: "make a directory outside", try: func() error { return os.Mkdir(in("outside/d"+thread), 0o755) }},
		{name: "remove outside", try: func() error { return os.Remove(in("outside/file")) }},
		{name: "link from outside", try: func() error { return os.Link(in("outside/file"), in("write/l"+thread)) }},
		{name: "link from Read to Write", try: func() error { return os.Link(in("read/file"), in("write/l"+thread)) }},
		{name: "move outside", try: func() error { return os.Rename(in("write/sub/file"), in("outside/"+thread)) }},
		{name: "change a mode", allowed: "closed open", try: func() error { return os.Chmod(in("outside/file"), 0o644) }},
		{name: "change times", allowed: "closed open", try: func() error { return os.Chtimes(in("outside/file"), time.Now(), time.Now()) }},

		{name: "connect by TCP", allowed: "open", try: func() error { return closing(net.Dial("tcp", o.TCP)) }},
		{name: "listen as Go does", allowed: "open", try: func() error { return closing(net.Listen("tcp", "127.0.0.1:0")) }},
		{name: "listen by TCP", allowed: "open", try: listen(false)},
		{name: "listen by MPTCP", allowed: "open", try: listen(true)},
		{name: "use UDP", allowed: "open", try: func() error { return closing(net.Dial("udp", "127.0.0.1:9")) }},
		{name: "listen by UDP", allowed: "open", try: func() error { return closing(net.ListenPacket("udp", "127.0.0.1:0")) }},
		{name: "make a raw socket", only: "closed readonly", try: socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)},
		{name: "make a TCP socket", allowed: "open", try: socket(unix.AF_INET, unix.SOCK_STREAM, 0)},
		{name: "make an IPv6 socket", only: "closed readonly", try: socket(unix.AF_INET6, unix.SOCK_DGRAM, 0)},
		{name: "make an MPTCP socket", only: "closed readonly", try: socket(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_MPTCP)},
		{name: "make a netlink socket", allowed: "open", try: socket(unix.AF_NETLINK, unix.SOCK_RAW, 0)},
		{name: "make a vsock socket", only: "closed readonly", try: socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)},
		{name: "connect to a unix socket", allowed: "open", try: func() error { return closing(net.Dial("unix", in("outside/socket"))) }},
		{name: "connect to an abstract socket", allowed: "open", try: func() error { return closing(net.Dial("unix", "@"+in("socket"))) }},
		{name: "listen by an abstract socket", allowed: "open", try: func() error {
			return closing(net.Listen("unix", fmt.Sprintf("@sandbox-%d-%s", os.Getpid(), thread)))
		}},
		{name: "make a pair of streams", allowed: all, try: pair(unix.AF_UNIX, unix.SOCK_STREAM)},
		{name: "make a pair of packet sockets", allowed: all, try: pair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_NONBLOCK)},
		{name: "make a pair of datagram sockets", allowed: "open", try: pair(unix.AF_UNIX, unix.SOCK_DGRAM)},
		{name: "make a pair of raw sockets", allowed: "open", try: pair(unix.AF_UNIX, unix.SOCK_RAW)},
		{name: "make a pair of TIPC sockets", only: "closed readonly", try: pair(unix.AF_TIPC, unix.SOCK_STREAM)},
		{name: "set up io_uring", try: func() error {
			var params [120]byte
			fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
			if errno != 0 {
				return errno
			}
			return unix.Close(int(fd))
		}},

		{name: "run a program", allowed: "open", try: run(in("bin/self"), "nothing").Run},
		{name: "run a program outside", try: run(in("outside/self"), "nothing").Run},
		{name: "replace itself by a file in memory", only: "closed readonly", try: func() error {
			fd, err := unix.MemfdCreate("program", unix.MFD_CLOEXEC)
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			if _, err := unix.Write(fd, []byte("#!"+in("bin/self"))); err != nil {
				return err
			}
			err = unix.Exec("/proc/self/fd/"+strconv.Itoa(fd), []string{"x"}, run("", "nothing").Env)
			var empty byte
			return errors.Join(err, call(unix.SYS_EXECVEAT, uintptr(fd), uintptr(unsafe.Pointer(&empty)), 0, 0, unix.AT_EMPTY_PATH)())
		}},
		{name: "have its own child held by the rules", only: "open", allowed: "open", try: run(in("bin/self"), "denied").Run},
		{name: "kill its own child", only: "open", allowed: "open", try: func() error {
			cmd := run(in("bin/self"), "wait")
			stdin, err := cmd.StdinPipe()
			if err != nil {
				return err
			}
			defer stdin.Close()
			if err := cmd.Start(); err != nil {
				return err
			}
			killed := make(chan error)
			go func() { killed <- cmd.Process.Kill() }() // on another thread, as this one is locked
			err = <-killed
			stdin.Close()
			_ = cmd.Wait()
			return err
		}},

		{name: "trace", try: call(unix.SYS_PTRACE, unix.PTRACE_ATTACH)},
		{name: "trace its parent", try: func() error { return unix.PtraceAttach(os.Getppid()) }},
		{name: "type on the terminal", try: call(unix.SYS_IOCTL, ^uintptr(0), unix.TIOCSTI)},
		{name: "type on the terminal with a number of 64 bits", try: func() error {
			number := uint64(unix.TIOCSTI) | 1<<40
			return call(unix.SYS_IOCTL, ^uintptr(0), uintptr(number))()
		}},
		{name: "make a system call of x32", try: call(0x40000000 | unix.SYS_GETPID)},
		{name: "signal another process", only: "closed readonly", try: func() error { return unix.Kill(os.Getppid(), 0) }},
		{name: "signal itself", allowed: all, try: func() error {
			return errors.Join(unix.Kill(os.Getpid(), 0), unix.Tgkill(os.Getpid(), os.Getpid(), 0), unix.Kill(-os.Getpid(), 0))
		}},
	}
}

func closing[T io.Closer](c T, err error) error {
	if err != nil {
		return err
	}
	return c.Close()
}

// verdict says ok, denied, or what else came out.
func verdict(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, unix.EXDEV):
		return "denied"
	}
	return err.Error()
}

// play is the child's main.
func (o order) play() {
	switch o.Role {
	case "nothing":
		return
	case "wait":
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	case "denied":
		if _, err := os.ReadFile("/etc/passwd"); verdict(err) != "denied" {
			os.Exit(1)
		}
		return
	case "probe":
		o.probe()
		return
	case "remount":
		o.remount()
		return
	case "tethered": // descriptor 3 kills the group
		must(tether(3, os.Getpid()))
	}

	var n news
	n.Call[0] = callCost()
	n.Took = o.apply(&n)
	if n.Err != "" {
		panic(n.Err)
	}

	switch o.Role {
	case "time":
		n.Call[1] = callCost()
		must(json.NewEncoder(os.Stdout).Encode(n))
	case "tethered", "tethered by parent":
		fmt.Println("ready")
		time.Sleep(time.Hour)
	case "ordinary":
		ordinary()
	case "read /proc/self again":
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
		_, err := os.ReadFile("/proc/self/status")
		must(err)
	case "panic":
		panic("boom")
	case "exit":
		os.Exit(7)
	case "kill itself":
		must(unix.Kill(os.Getpid(), unix.SIGKILL))
		time.Sleep(time.Hour)
	case "kill its group":
		must(unix.Kill(0, unix.SIGKILL))
		time.Sleep(time.Hour)
	case "every call":
		n.Results = map[string]map[string]string{"denied": {}}
		for _, number := range slices.Concat(deniedAlways, deniedAlwaysHere, deniedExec, deniedNetwork, deniedRead, deniedReadHere) {
			bad := ^uintptr(0) // no descriptor, no pointer, no command: harmless if it is not denied
			_, _, errno := unix.Syscall6(uintptr(number), bad, bad, bad, bad, bad, bad)
			n.Results["denied"][strconv.Itoa(int(number))] = verdict(errno)
		}
		must(json.NewEncoder(os.Stdout).Encode(n))
	default:
		panic(o.Role)
	}
}

// apply applies the rules and returns how long it took.
func (o order) apply(n *news) time.Duration {
	start := time.Now()
	for _, r := range o.Rules {
		missing, err := Apply(r)
		n.Missing = missing
		if err != nil {
			n.Err = err.Error()
		}
	}
	return time.Since(start)
}

// probe tries everything on the main thread, on one started before Apply and on one started after it.
func (o order) probe() {
	n := news{Results: map[string]map[string]string{}}
	try := func(thread string) {
		for _, p := range o.probes(thread) {
			if !p.triedUnder(o.ruleSet()) || o.Only != nil && !slices.Contains(o.Only, p.name) {
				continue
			}
			if n.Results[p.name] == nil {
				n.Results[p.name] = map[string]string{}
			}
			n.Results[p.name][thread] = verdict(p.try())
		}
	}

	runtime.LockOSThread()
	applied, tried := make(chan struct{}), make(chan struct{})
	ready := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		close(ready)
		<-applied
		try("before")
		close(tried)
	}()
	<-ready
	old := threads()
	o.apply(&n)
	close(applied)
	<-tried

	onNewThread(old, func() { try("after") })
	try("main")
	must(json.NewEncoder(os.Stdout).Encode(n))
}

// ruleSet returns the name of the set that the rules are, for probe.only.
func (o order) ruleSet() string {
	if len(o.Rules) == 0 {
		return "none"
	}
	switch r := o.Rules[len(o.Rules)-1]; {
	case r.Network:
		return "open"
	case len(r.Write) == 0:
		return "readonly"
	}
	return "closed"
}

func threads() []string {
	entries, err := os.ReadDir("/proc/self/task")
	must(err)
	var tids []string
	for _, e := range entries {
		tids = append(tids, e.Name())
	}
	return tids
}

// onNewThread calls f on a thread that is not one of the old ones.
func onNewThread(old []string, f func()) {
	var wg sync.WaitGroup
	done := make(chan struct{})
	var once sync.Once
	for range len(old) + 1 { // each is locked to a thread of its own, so that one of them is new
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if slices.Contains(old, strconv.Itoa(unix.Gettid())) {
				<-done
				return
			}
			once.Do(func() { f(); close(done) })
		})
	}
	wg.Wait()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func TestRulesHoldOnEveryThread(t *testing.T) {
	skipUnlessAllIsEnforced(t)
	for name, rules := range map[string]func(string) Rules{"closed": closed, "readonly": readonly, "open": open} {
		t.Run(name, func(t *testing.T) {
			asUsers(t, func(t *testing.T, user *syscall.Credential) {
				o := order{Role: "probe", Dir: tree(t, user)}
				o.Rules = []Rules{rules(o.Dir)}
				o.TCP = listening(t, o.Dir, user)
				n := o.answer(t, user)
				require.Empty(t, n.Err)
				for _, p := range o.probes("") {
					if !p.triedUnder(name) {
						continue
					}
					want := "denied"
					if slices.Contains(strings.Fields(p.allowed), name) {
						want = "ok"
					}
					assert.Equal(t, map[string]string{"main": want, "before": want, "after": want}, n.Results[p.name], p.name)
				}
				text, err := os.ReadFile(filepath.Join(o.Dir, "outside/file"))
				require.NoError(t, err)
				assert.Equal(t, "text", string(text))
			})
		})
	}
}

// listening listens by TCP, whose address it returns, and by the unix sockets outside/socket and @socket.
func listening(t *testing.T, dir string, user *syscall.Credential) string {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	path, err := net.Listen("unix", filepath.Join(dir, "outside/socket"))
	require.NoError(t, err)
	abstract, err := net.Listen("unix", "@"+filepath.Join(dir, "socket"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, errors.Join(tcp.Close(), path.Close(), abstract.Close())) })
	if user != nil {
		require.NoError(t, os.Chown(filepath.Join(dir, "outside/socket"), int(user.Uid), int(user.Gid)))
	}
	return tcp.Addr().String()
}

func TestProbesWorkWithoutRules(t *testing.T) { // or a denial would prove nothing
	asUsers(t, func(t *testing.T, user *syscall.Credential) {
		o := order{Role: "probe", Dir: tree(t, user), Only: []string{
			"write a file in Read", "make a file in Read", "read /etc/passwd", "read through /proc/self/root",
			"read through /proc/self/cwd", "read through a link", "read through dots",
			"read through a descriptor of the path", "read through a link of its own", "list /",
			"read about another process", "write its own memory", "write outside", "truncate outside",
			"make a file outside", "make a directory outside", "change a mode", "change times", "connect by TCP",
			"listen as Go does", "listen by TCP", "listen by MPTCP", "use UDP", "listen by UDP", "make a TCP socket",
			"make a netlink socket", "connect to a unix socket", "connect to an abstract socket",
			"make a pair of datagram sockets", "run a program", "run a program outside",
		}}
		o.TCP = listening(t, o.Dir, user)
		n := o.answer(t, user)
		for _, name := range o.Only {
			assert.Equal(t, map[string]string{"main": "ok", "before": "ok", "after": "ok"}, n.Results[name], name)
		}
	})
}

func TestEveryListedCallIsDenied(t *testing.T) {
	skipUnlessAllIsEnforced(t)
	asUsers(t, func(t *testing.T, user *syscall.Credential) {
		o := order{Role: "every call", Rules: []Rules{{}}, Dir: tree(t, user)}
		results := o.answer(t, user).Results["denied"]
		assert.Greater(t, len(results), 30)
		for number, verdict := range results {
			assert.Equal(t, "denied", verdict, "system call %s", number)
		}
	})
}

// harmless are probes of each of the locks.
var harmless = []string{"read /etc/passwd", "make a TCP socket", "run a program outside"}

func TestFaultyRulesChangeNothing(t *testing.T) {
	for name, rules := range map[string]Rules{
		"read":  {Read: []string{"/", "/does/not/exist"}},
		"write": {Write: []string{"/", "/does/not/exist"}},
		"empty": {Read: []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			o := order{Role: "probe", Rules: []Rules{rules}, Dir: tree(t, nil), Only: harmless}
			n := o.answer(t, nil)
			assert.Contains(t, n.Err, strconv.Quote(slices.Concat(rules.Read, rules.Write)[len(rules.Read)+len(rules.Write)-1]))
			for _, name := range harmless {
				assert.Equal(t, "ok", n.Results[name]["main"], name)
			}
		})
	}
}

func TestStrictRefusesWhatIsMissing(t *testing.T) {
	for _, rules := range []Rules{{}, {Network: true}, {Exec: true}, {Network: true, Exec: true}} {
		o := order{Role: "probe", Rules: []Rules{rules}, Dir: tree(t, nil), Only: harmless}
		loose := o.answer(t, nil)
		assert.Empty(t, loose.Err)
		o.Rules[0].Strict = true
		strict := o.answer(t, nil)
		assert.Equal(t, loose.Missing, strict.Missing)
		if len(strict.Missing) == 0 {
			assert.Empty(t, strict.Err)
			assert.Equal(t, "denied", strict.Results["read /etc/passwd"]["main"])
			continue
		}
		assert.Contains(t, strict.Err, strict.Missing[0])
		for _, name := range harmless {
			assert.Equal(t, "ok", strict.Results[name]["main"], name)
		}
	}
}

func TestSecondCallRestrictsFurther(t *testing.T) {
	skipUnlessAllIsEnforced(t)
	o := order{Role: "probe", Dir: tree(t, nil)}
	o.Rules = []Rules{open(o.Dir), {Read: []string{o.Dir + "/read", "/etc"}}}
	n := o.answer(t, nil)
	assert.Empty(t, n.Err)
	for name, want := range map[string]string{
		"read a file in Read": "ok", "read a file that is in Read itself": "denied", "read /etc/passwd": "denied",
		"make a TCP socket": "denied", "run a program": "denied", "make a pair of streams": "ok",
	} {
		assert.Equal(t, map[string]string{"main": want, "before": want, "after": want}, n.Results[name], name)
	}
}

// ordinary does what Go programs do. It panics when something fails.
func ordinary() {
	for _, file := range []string{"/proc/self/status", "/proc/self/maps", "/proc/thread-self/stat", "/sys/devices/system/cpu/online", "/dev/null"} {
		_, err := os.ReadFile(file)
		must(err)
	}
	must(os.WriteFile("/dev/null", []byte("x"), 0))
	random, err := os.Open("/dev/urandom")
	must(err)
	_, err = io.ReadFull(random, make([]byte, 8))
	must(err)
	must(random.Close())
	if _, err := os.Stat("/usr/share/zoneinfo/Europe/Berlin"); err == nil {
		_, err = time.LoadLocation("Europe/Berlin")
		must(err)
	}
	if _, err := os.Stat("/etc/localtime"); err == nil {
		_, err = os.ReadFile("/etc/localtime")
		must(err)
	}
	_ = time.Now().Local().String()

	// an inherited socket, through the poller and with a deadline
	file := os.NewFile(3, "inherited")
	conn, err := net.FileConn(file)
	must(err)
	_, err = conn.Write([]byte("ping"))
	must(err)
	_, err = io.ReadFull(conn, make([]byte, 4))
	must(err)
	must(conn.SetReadDeadline(time.Now().Add(time.Millisecond)))
	if _, err = conn.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		panic(err)
	}

	// inherited memory, by its descriptor and opened once more by its name
	memory, err := unix.Mmap(4, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(err)
	memory[0] = 'm'
	must(closing(os.OpenFile("/proc/self/fd/4", os.O_RDWR, 0)))

	r, w, err := os.Pipe()
	must(err)
	_, err = w.WriteString("x")
	must(err)
	must(errors.Join(r.Close(), w.Close()))

	// threads, and goroutines that only a signal can preempt
	onNewThread(threads(), func() {})
	var stop atomic.Bool
	for range 2 * runtime.GOMAXPROCS(0) {
		go func() {
			for !stop.Load() {
			}
		}()
	}
	runtime.GC()
	debug.FreeOSMemory()
	stop.Store(true)
	<-time.After(time.Millisecond)
	fmt.Println("all of it")
}

func TestOrdinaryProgramsGoOnWorking(t *testing.T) {
	skipUnlessAllIsEnforced(t)
	asUsers(t, func(t *testing.T, user *syscall.Credential) {
		o := order{Role: "ordinary", Rules: []Rules{{}}, Dir: tree(t, user)}
		cmd := o.command(t, user)
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		require.NoError(t, err)
		near, far := os.NewFile(uintptr(fds[0]), "near"), os.NewFile(uintptr(fds[1]), "far")
		fd, err := unix.MemfdCreate("memory", unix.MFD_CLOEXEC)
		require.NoError(t, err)
		memory := os.NewFile(uintptr(fd), "memory")
		require.NoError(t, memory.Truncate(4096))
		require.NoError(t, memory.Chmod(0o666))
		_, err = near.WriteString("pong")
		require.NoError(t, err)
		cmd.ExtraFiles = []*os.File{far, memory}

		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		assert.Equal(t, "all of it\n", string(out))
		b := make([]byte, 4)
		_, err = near.Read(b)
		require.NoError(t, err)
		assert.Equal(t, "ping", string(b))
		_, err = memory.ReadAt(b[:1], 0)
		require.NoError(t, err)
		assert.Equal(t, "m", string(b[:1]))
		require.NoError(t, errors.Join(near.Close(), far.Close(), memory.Close()))
	})
}

// remount makes the kernel forget all names in /proc, one of this child's own, while a restricted process runs.
func (o order) remount() {
	must(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	must(unix.Mount("proc", "/proc", "proc", 0, ""))
	o.Role = "read /proc/self again"
	text, err := json.Marshal(o)
	must(err)
	cmd := &exec.Cmd{Path: "/proc/self/exe", Env: []string{orderVariable + "=" + string(text), raceExitsAtOnce}, Stderr: os.Stderr}
	stdin, err := cmd.StdinPipe()
	must(err)
	stdout, err := cmd.StdoutPipe()
	must(err)
	must(cmd.Start())
	_, err = io.ReadFull(stdout, make([]byte, len("ready\n")))
	must(err)
	must(unix.Mount("", "/proc", "", unix.MS_REMOUNT, ""))
	must(stdin.Close())
	must(cmd.Wait())
}

func TestProcSelfSurvivesShortageOfMemory(t *testing.T) {
	skipUnlessAllIsEnforced(t)
	o := order{Role: "remount", Rules: []Rules{{}}, Dir: tree(t, nil)}
	cmd := o.command(t, nil)
	cmd.SysProcAttr.Cloneflags = unix.CLONE_NEWNS | unix.CLONE_NEWPID
	out, err := cmd.CombinedOutput()
	if errors.Is(err, fs.ErrPermission) {
		t.Skip("this user may not make a /proc of its own:", err)
	}
	require.NoError(t, err, "%s", out)
}

func TestProcessesEndAsUsual(t *testing.T) {
	for role, want := range map[string]string{
		"panic": "exit status 2", "exit": "exit status 7", "kill itself": "signal: killed", "kill its group": "signal: killed",
	} {
		t.Run(role, func(t *testing.T) {
			asUsers(t, func(t *testing.T, user *syscall.Credential) {
				o := order{Role: role, Rules: []Rules{{}}, Dir: tree(t, user)}
				out, err := o.command(t, user).CombinedOutput()
				require.EqualError(t, err, want, "%s", out)
				if role == "panic" {
					assert.Regexp(t, `(?s)^panic: boom.*goroutine 1 .*play`, string(out))
				} else {
					assert.Empty(t, string(out))
				}
			})
		})
	}
}

// tether makes the kernel kill the process group when the last writer of the pipe has gone.
func tether(pipe, group int) error {
	if _, err := unix.FcntlInt(uintptr(pipe), unix.F_SETOWN, -group); err != nil {
		return err
	}
	if _, err := unix.FcntlInt(uintptr(pipe), unix.F_SETSIG, int(unix.SIGKILL)); err != nil {
		return err
	}
	flags, err := unix.FcntlInt(uintptr(pipe), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	_, err = unix.FcntlInt(uintptr(pipe), unix.F_SETFL, flags|unix.O_ASYNC)
	return err
}

func TestKernelStillKillsTheGroupWhenThePipesWriterGoes(t *testing.T) {
	for _, role := range []string{"tethered", "tethered by parent"} {
		for name, rules := range map[string]Rules{"closed": {}, "open": {Network: true, Exec: true}} {
			t.Run(role+"/"+name, func(t *testing.T) {
				asUsers(t, func(t *testing.T, user *syscall.Credential) {
					o := order{Role: role, Rules: []Rules{rules}, Dir: tree(t, user)}
					cmd := o.command(t, user)
					r, w, err := os.Pipe()
					require.NoError(t, err)
					defer w.Close()
					cmd.ExtraFiles = []*os.File{r}
					out, err := cmd.StdoutPipe()
					require.NoError(t, err)
					require.NoError(t, cmd.Start())
					if role == "tethered by parent" {
						assert.NoError(t, tether(int(r.Fd()), cmd.Process.Pid))
					}
					require.NoError(t, r.Close())
					line := make([]byte, len("ready\n"))
					_, err = io.ReadFull(out, line)
					assert.NoError(t, err)
					require.NoError(t, w.Close())
					assert.EqualError(t, cmd.Wait(), "signal: killed")
				})
			})
		}
	}
}

// callCost returns the ns that a system call takes.
func callCost() float64 {
	const n = 20000
	start := time.Now()
	for range n {
		unix.Getppid()
	}
	return float64(time.Since(start).Nanoseconds()) / n
}

// BenchmarkApply measures Apply in fresh processes, and system calls before and after it.
func BenchmarkApply(b *testing.B) {
	skipUnlessAllIsEnforced(b)
	o := order{Role: "time", Dir: tree(b, nil)}
	o.Rules = []Rules{closed(o.Dir)}
	var sum news
	for b.Loop() {
		n := o.answer(b, nil)
		sum.Took += n.Took
		sum.Call[0] += n.Call[0]
		sum.Call[1] += n.Call[1]
	}
	b.ReportMetric(float64(sum.Took.Nanoseconds())/float64(b.N), "ns/apply")
	b.ReportMetric(sum.Call[0]/float64(b.N), "ns/call-before")
	b.ReportMetric(sum.Call[1]/float64(b.N), "ns/call-after")
}
