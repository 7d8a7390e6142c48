package cache

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFullDiskIsAnErrorOfPut(t *testing.T) {
	d := openDisk(t, testkit.TmpFS(t, "1M"), DiskOptions{})
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		err = d.Put(spread(n), Record{Value: content(n, 50_000)})
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.Greater(t, n, 5)
	for i := range n - 1 {
		rec, ok := d.Get(spread(i))
		require.True(t, ok)
		require.Equal(t, content(i, 50_000), rec.Value)
	}
	_, ok := d.Get(spread(n - 1))
	assert.False(t, ok)
	left, err := list(filepath.Join(d.dir, "writing"))
	require.NoError(t, err)
	assert.Empty(t, left)
	assert.Equal(t, uint64(1), d.Stats().Errors)
	require.NoError(t, d.Reduce(Limits{Items: 5}))
	require.NoError(t, d.Put(spread(n), Record{Value: content(n, 50_000)}), "there is room again")

	old := filepath.Join(d.dir, "dumped")
	require.NoError(t, Dump(old, content(1, 1000)))
	require.ErrorIs(t, Dump(old, content(1, 1<<21)), syscall.ENOSPC)
	b, err := Load[[]byte](old)
	require.NoError(t, err)
	assert.Equal(t, content(1, 1000), b)
}

func TestReadOnlyFolderIsRead(t *testing.T) {
	dir := testkit.TmpFS(t, "1M")
	d := openDisk(t, dir, DiskOptions{})
	require.NoError(t, d.Put(key(1), Record{Value: []byte("value")}))
	k := key(2)
	require.NoError(t, d.Put(k, Record{Value: []byte("value")}))
	require.NoError(t, os.Truncate(d.path(&k), 10))
	require.NoError(t, d.Close())
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	d = openDisk(t, dir, DiskOptions{Bytes: 1 << 20, Age: 1})
	rec, ok := d.Get(key(1))
	require.True(t, ok)
	assert.Equal(t, "value", string(rec.Value))
	_, ok = d.Get(key(2))
	assert.False(t, ok)
	assert.ErrorIs(t, d.Put(key(3), Record{}), syscall.EROFS)
	assert.ErrorIs(t, d.Delete(key(1)), syscall.EROFS)
	assert.ErrorIs(t, d.Clear(), syscall.EROFS)
	_, _, err := d.TryLease(key(1))
	assert.ErrorIs(t, err, syscall.EROFS)
	groups, err := d.Groups()
	require.NoError(t, err)
	assert.Equal(t, 2, groups[0].Items)
	_, err = OpenDisk(filepath.Join(dir, "another"), DiskOptions{})
	assert.ErrorContains(t, err, "cache: no folder for it")
	require.NoError(t, d.Close())
}

func TestFolderOfAnotherUser(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere; see TestReadOnlyFolderIsRead")
	}
	dir := t.TempDir()
	d := openDisk(t, dir, DiskOptions{})
	require.NoError(t, d.Put(key(1), Record{}))
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "writing")))
	require.NoError(t, os.Chmod(dir, 0o555))
	defer os.Chmod(dir, 0o777)
	_, ok := d.Get(key(1))
	assert.True(t, ok)
	assert.True(t, errors.Is(d.Put(key(2), Record{}), os.ErrPermission))
}
