package cache

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// helper names what a copy of the test binary does instead of testing: a function of helpers and its arguments.
const helper = "PARALLEL_CACHE_TEST_HELPER"

var helpers = map[string]func(args []string) error{}

func TestMain(m *testing.M) {
	if words := strings.Fields(os.Getenv(helper)); len(words) > 0 {
		if err := helpers[words[0]](words[1:]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// process is a copy of the test binary that runs a helper.
type process struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startHelper(t *testing.T, words ...any) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), helper+"="+strings.TrimSpace(fmt.Sprintln(words...)))
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	p := &process{cmd, in, bufio.NewReader(out)}
	t.Cleanup(p.kill)
	return p
}

// kill ends the process as SIGKILL does.
func (p *process) kill() {
	if p.ProcessState == nil {
		p.Process.Kill()
		p.Wait()
	}
}

// line returns the next line that the process has printed.
func (p *process) line(t *testing.T) string {
	t.Helper()
	s, err := p.out.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSpace(s)
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return n
}

// key is the n-th key of the tests.
func key(n int) (k Key) {
	k.Group = "imaging.Resize"
	binary.BigEndian.PutUint64(k.Sum[24:], uint64(n)) // shards, and stripes, are all the same: the worst case
	return k
}

// spread is the n-th of keys as digests are.
func spread(n int) (k Key) {
	k.Group = "imaging.Resize"
	for i := range 4 {
		binary.BigEndian.PutUint64(k.Sum[8*i:], uint64(n+1)*(0x9e3779b97f4a7c15+uint64(2*i)))
	}
	return k
}

// content is what belongs under key n: whoever finds something else has found a torn record.
func content(n, size int) []byte {
	b := make([]byte, size)
	x := uint64(n)*0x9e3779b97f4a7c15 + 1
	for i := 0; i < size; i += 8 {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], x)
		copy(b[i:], word[:])
	}
	return b
}

func openDisk(t testing.TB, dir string, o DiskOptions) *Disk {
	t.Helper()
	d, err := OpenDisk(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func newRAM(t testing.TB, bytes int64) *RAM {
	t.Helper()
	r, err := NewRAM(bytes)
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

func inTime(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
