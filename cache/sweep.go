package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// file is a record as it is seen from outside.
type file struct {
	path  string
	shard int   // an index
	size  int64 // as Group counts it
	used  int64 // nanoseconds since 1970
	mark  int64 // its time of modification: used, but where that is yet to come
}

// Reduce removes records until all limits hold, those used least recently first. Others may put some meanwhile. It waits
// at most 10 s for another process that does such a thing.
func (d *Disk) Reduce(l Limits) error {
	if err := l.check(); err != nil {
		return err
	}
	return d.failed(d.sweep(bounds{l.Bytes, l.Items, l.Age}.orNone(), roomPatience))
}

// Clear removes all records.
func (d *Disk) Clear() error { return d.failed(d.sweep(bounds{}, roomPatience)) }

// ClearGroup removes the records of a group, in about 10 µs each. That there is room again is noticed when the folder is
// next looked through.
func (d *Disk) ClearGroup(group string) error {
	if d.closed.Load() {
		return os.ErrClosed
	}
	files, shards, err := d.walkGroup(d.folder(group), nil, nil)
	for _, f := range files {
		if e := os.Remove(f.path); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
			continue
		}
		shards[f.shard].files--
	}
	tidy(shards)
	return d.failed(err)
}

func (d *Disk) failed(err error) error {
	if err == nil {
		return nil
	}
	d.count.errors.Add(1)
	return fmt.Errorf("cache: %w", err)
}

// bounds are what a sweep leaves at most. Negative: no bound.
type bounds struct {
	bytes int64
	items int
	age   time.Duration
}

func (b bounds) orNone() bounds {
	if b.bytes == 0 {
		b.bytes = -1
	}
	if b.items == 0 {
		b.items = -1
	}
	if b.age == 0 {
		b.age = -1
	}
	return b
}

// limits are the folder's own: some room is left, so that the next Puts need no sweep.
func (d *Disk) limits(size int64) bounds {
	b := bounds{0, 0, d.o.Age}.orNone()
	if d.o.Bytes > 0 {
		b.bytes = min(d.o.Bytes/4*3, d.o.Bytes-size)
	}
	return b
}

// makeRoom sees to it that so many bytes fit, by itself or by waiting for whoever is doing that.
func (d *Disk) makeRoom(size int64, wait time.Duration) error {
	return d.sweep(d.limits(size), wait, func() bool {
		a := d.ledger.look()
		return a.known && a.used+size <= d.o.Bytes
	})
}

// lookForOld looks for old records in the background, if nobody has done so lately.
func (d *Disk) lookForOld() {
	at, next := sinceStart(), d.nextAge.Load()
	if at < next || !d.nextAge.CompareAndSwap(next, at+int64(d.o.Age/8)) {
		return
	}
	if time.Since(time.Unix(0, d.ledger.look().looked)).Abs() >= d.o.Age/8 {
		d.background(func() error { return d.sweep(d.limits(0), 0) })
	}
}

// background runs a sweep beside what else goes on, one at a time.
func (d *Disk) background(sweep func() error) {
	if !d.sweeping.CompareAndSwap(false, true) {
		return
	}
	d.opening.Lock()
	defer d.opening.Unlock()
	if d.closed.Load() {
		return
	}
	d.idle.Go(func() {
		defer d.sweeping.Store(false)
		if err := sweep(); err != nil && !errors.Is(err, errBusy) && !errors.Is(err, os.ErrClosed) {
			d.count.errors.Add(1)
		}
	})
}

// sweep looks the folder through and removes what is beyond the bounds. Only one process does so at a time; it is not
// needed any more if one of enough says so when its turn has come.
func (d *Disk) sweep(b bounds, wait time.Duration, enough ...func() bool) error {
	if d.closed.Load() {
		return os.ErrClosed
	}
	if _, err := d.sweeps.lock(wait); err != nil {
		return err
	}
	defer d.sweeps.unlock()
	for _, f := range enough {
		if f() {
			return nil
		}
	}
	before, err := d.ledger.enter()
	if err != nil {
		return err
	}
	d.ledger.unlock()
	d.clearWriting(orphaned)
	// What is put from here on may be counted twice, never not at all: it is in the account, and may be met on the way.
	files, shards, err := d.walk()
	if err != nil {
		return err
	}
	left, oldest := d.cut(files, shards, b)
	after, err := d.ledger.enter()
	if err != nil {
		return err
	}
	defer d.ledger.unlock()
	at := time.Now()
	if added := after.used - before.used; added >= 0 && (after.known || !before.known) {
		after.used = left + added
	} else {
		after.used += left // it is another file: somebody has removed it meanwhile
	}
	if after.looked, after.known = at.UnixNano(), true; oldest > 0 {
		after.grain = min(max(at.Sub(time.Unix(0, oldest))/8, finest), markEvery)
	}
	d.seen.Store(&after)
	return d.ledger.write(after)
}

// cut removes files and returns how many bytes are left. If some went because of the bytes, oldest is when the first
// of the others was used.
func (d *Disk) cut(files []file, shards []shard, b bounds) (left, oldest int64) {
	for _, f := range files {
		left += f.size
	}
	slices.SortFunc(files, func(a, b file) int {
		if a.used != b.used {
			if a.used < b.used {
				return -1
			}
			return 1
		}
		return strings.Compare(a.path, b.path)
	})
	expired := int64(0)
	if b.age >= 0 {
		expired = time.Now().Add(-b.age).UnixNano()
	}
	forBytes := false
	for i, f := range files {
		tooMany := b.items >= 0 && len(files)-i > b.items
		tooLarge := b.bytes >= 0 && left > b.bytes
		if !tooMany && !tooLarge && (b.age < 0 || f.used >= expired) {
			if forBytes {
				oldest = f.used
			}
			break
		}
		if d.stopped() {
			break
		}
		if info, err := os.Lstat(f.path); b != (bounds{}) && err == nil && info.ModTime().UnixNano() != f.mark {
			continue // used since
		}
		if err := os.Remove(f.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.count.errors.Add(1)
			continue
		}
		forBytes = forBytes || tooLarge
		d.count.removed.Add(1)
		left -= f.size
		shards[f.shard].files--
	}
	tidy(shards)
	return left, oldest
}

// tidy removes folders that are empty.
func tidy(shards []shard) {
	for _, s := range shards {
		if s.files == 0 && os.Remove(s.path) == nil { // not if something has come into it
			os.Remove(filepath.Dir(s.path))
		}
	}
}

func (d *Disk) stopped() bool {
	select {
	case <-d.quit:
		return true
	default:
		return false
	}
}

// shard is a folder of records.
type shard struct {
	path  string
	files int
}

// walk returns the records' files. Nothing else in the folder is looked at.
func (d *Disk) walk() (files []file, shards []shard, err error) {
	groups, err := list(filepath.Join(d.dir, "groups"))
	if err != nil {
		return nil, nil, err
	}
	for _, g := range groups {
		if !g.IsDir() {
			continue
		}
		if files, shards, err = d.walkGroup(filepath.Join(d.dir, "groups", g.Name()), files, shards); err != nil {
			return nil, nil, err
		}
	}
	return files, shards, nil
}

// skew is how far the clocks of machines that share a folder may be apart.
const skew = time.Minute

// walkGroup adds the files and shards in the folder of a group.
func (d *Disk) walkGroup(folder string, files []file, shards []shard) ([]file, []shard, error) {
	inGroup, err := list(folder)
	if err != nil {
		return nil, nil, err
	}
	future := time.Now().Add(skew).UnixNano()
	for _, s := range inGroup {
		if d.stopped() {
			return nil, nil, os.ErrClosed
		}
		if !isHex(s.Name(), 2) || !s.IsDir() {
			continue
		}
		path := filepath.Join(folder, s.Name())
		records, err := list(path)
		if err != nil {
			return nil, nil, err
		}
		shards = append(shards, shard{path: path})
		for _, r := range records {
			info, err := r.Info()
			if err != nil || !isHex(r.Name(), 62) {
				continue // gone, or not ours
			}
			shards[len(shards)-1].files++
			mark := info.ModTime().UnixNano()
			used := mark
			if mark > future { // the clock was ahead then: whoever uses it marks it anew
				used = 0
			}
			files = append(files, file{filepath.Join(path, r.Name()), len(shards) - 1, onDisk(info.Size()), used, mark})
		}
	}
	return files, shards, nil
}

// list returns what is in a folder, which may not be there, in no order.
func list(folder string) ([]fs.DirEntry, error) {
	f, err := os.Open(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if errors.Is(err, fs.ErrNotExist) { // it was removed just now
		return nil, nil
	}
	return entries, err
}

func isHex(name string, n int) bool {
	return len(name) == n && strings.Trim(name, "0123456789abcdef") == ""
}

// clearWriting removes what processes have left that are no more.
func (d *Disk) clearWriting(age time.Duration) {
	writing := filepath.Join(d.dir, "writing")
	entries, _ := list(writing)
	for _, e := range entries {
		clearOne(writing, e, age)
	}
	entries, _ = list(d.dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), formatFile+"-") {
			clearOne(d.dir, e, age)
		}
	}
	leases := filepath.Join(d.dir, "leases")
	entries, _ = list(leases) // where each has a file: see leaseFile
	for _, e := range entries {
		if info, err := e.Info(); err != nil || time.Since(info.ModTime()).Abs() < age {
			continue
		}
		if f, err := os.OpenFile(filepath.Join(leases, e.Name()), os.O_RDWR, 0); err == nil {
			if ok, _ := tryLock(f, 0); ok {
				freeLease(f)
			} else {
				f.Close()
			}
		}
	}
}

// clearOne removes an unfinished file that nobody holds and that is old enough; a clock that was set back makes it so.
func clearOne(folder string, e fs.DirEntry, age time.Duration) {
	info, err := e.Info()
	if err != nil || !info.Mode().IsRegular() || time.Since(info.ModTime()).Abs() < age {
		return
	}
	path := filepath.Join(folder, e.Name())
	if f, err := os.OpenFile(path, os.O_RDWR, 0); err == nil {
		ok, err := tryLock(f, beyond)
		f.Close()
		if err == nil && !ok || err != nil && time.Since(info.ModTime()).Abs() < time.Hour { // there are no locks here
			return
		}
	}
	os.Remove(path)
}

// Group is what a store holds under one Key.Group.
type Group struct {
	Name  string
	Items int
	Bytes int64     // on disk: files rounded up to blocks of 4 KiB
	Used  time.Time // when one of them was last used
}

// Groups looks the folder through, in about 2 µs per record, and returns what there is, in the order of the names.
func (d *Disk) Groups() ([]Group, error) {
	files, shards, err := d.walk()
	if err != nil {
		return nil, d.failed(err)
	}
	byFolder, named := map[string]*Group{}, map[string]bool{}
	for _, f := range files {
		folder := filepath.Dir(shards[f.shard].path)
		g := byFolder[folder]
		if g == nil {
			g = &Group{}
			byFolder[folder] = g
		}
		if !named[folder] { // else by the next: this one is damaged
			g.Name, named[folder] = groupOf(f.path)
		}
		g.Items++
		g.Bytes += f.size
		if used := time.Unix(0, f.used); used.After(g.Used) {
			g.Used = used
		}
	}
	groups := make([]Group, 0, len(byFolder))
	for folder, g := range byFolder {
		if named[folder] {
			groups = append(groups, *g)
		}
	}
	slices.SortFunc(groups, func(a, b Group) int { return strings.Compare(a.Name, b.Name) })
	return groups, nil
}

// groupOf reads the name of the group from a record.
func groupOf(path string) (string, bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer f.Close()
	b := make([]byte, headSize+1<<16)
	n, _ := f.ReadAt(b, 0)
	h, _, err := readHead(b[:n])
	return h.key.Group, err == nil
}
