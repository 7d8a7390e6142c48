package memo_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel/cache"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/gojoblib/parallel/memo"
)

func TestAFullFolderCostsNoCall(t *testing.T) {
	testkit.Clean(t)
	said := listen(t)
	dir := testkit.TmpFS(t, "1M")
	m := open(t, memo.Options{Dir: dir})
	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	require.NoError(t, err)
	_, err = io.Copy(ballast, zeros{})
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, ballast.Close())
	js := fresh(9)
	for range 2 {
		everyWay(t, m, js)
	}
	s := m.Stats()
	require.EqualValues(t, 9, s.Errors)
	require.EqualValues(t, 9, s.RAMHits)
	require.Zero(t, s.Stores)
	require.Len(t, said(), 1)
	require.Contains(t, said()[0], "no space left on device")
	require.NoError(t, os.Remove(ballast.Name()))
	everyWay(t, m, fresh(9))
	require.EqualValues(t, 9, m.Stats().Stores, "there is room again")
	require.Len(t, said(), 1)
	require.Empty(t, must(os.ReadDir(filepath.Join(dir, "writing"))))
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestAFolderThatCannotBeWrittenHasHits(t *testing.T) {
	testkit.Clean(t)
	said := listen(t)
	dir := testkit.TmpFS(t, "1M")
	js := fresh(9)
	m, err := memo.New(memo.Options{Dir: dir})
	require.NoError(t, err)
	everyWay(t, m, js)
	require.NoError(t, m.Close())
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	m = open(t, memo.Options{Dir: dir})
	everyWay(t, m, js)
	require.EqualValues(t, 9, m.Stats().DiskHits)
	require.Empty(t, said())
	others := fresh(9)
	for range 2 {
		everyWay(t, m, others)
	}
	s := m.Stats()
	require.EqualValues(t, 9, s.Errors)
	require.EqualValues(t, 9, s.Misses)
	require.EqualValues(t, 9, s.RAMHits)
	require.Len(t, said(), 1)
	require.Contains(t, said()[0], "read-only file system")
	_, err = memo.New(memo.Options{Dir: filepath.Join(dir, "another")})
	require.ErrorContains(t, err, "read-only file system")
}

// What cannot be decoded, nor removed, is computed, not looked at again and again.
func TestAValueThatCannotBeDecodedNorRemoved(t *testing.T) {
	testkit.Clean(t)
	dir := testkit.TmpFS(t, "1M")
	js := fresh(6)
	m, err := memo.New(memo.Options{Dir: dir})
	require.NoError(t, err)
	everyWay(t, m, js)
	require.NoError(t, m.Close())
	rewrite(t, dir, func(rec *cache.Record) { rec.Value = []byte("\xff\xff\xff") })
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	m = open(t, memo.Options{Dir: dir})
	for range 2 {
		everyWay(t, m, js)
	}
	for _, j := range js {
		require.EqualValues(t, 2, made(j))
	}
}

// Where the executable cannot be read, nothing tells one build from another: no value is believed.
func TestAProgramThatCannotBeReadTrustsNoValueOfAnother(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can be somebody else")
	}
	testkit.Clean(t)
	parent := must(os.MkdirTemp("", "memo"))
	defer os.RemoveAll(parent)
	require.NoError(t, os.Chmod(parent, 0o777))
	dir, log, exe := filepath.Join(parent, "cache"), filepath.Join(parent, "log"), filepath.Join(parent, "program")
	b := must(os.ReadFile(must(os.Executable())))
	require.NoError(t, os.WriteFile(exe, b, 0o111))
	for times := 1; times <= 2; times++ {
		c := exec.Command(exe, "-test.run=^$")
		c.Env = append(os.Environ(), helper+"=want "+dir+" 5", logFile+"="+log)
		c.Dir = parent
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := c.CombinedOutput()
		require.NoError(t, err, "%s", out)
		_, n := computed(t, log)
		require.Equal(t, 5*times, n)
	}
}
