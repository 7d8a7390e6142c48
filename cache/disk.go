package cache

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Disk is a Store in a folder, which any number of processes may use at once:
//
//	format                       what this is
//	ledger sweep leases          what the processes lock; ledger: how much there is
//	writing/<process>-<n>        records that are not finished
//	groups/<group>/<ab>/<cdef…>  records, by Key.Sum
//
// A record is written beside the others and renamed, so that nobody sees a part of it, and holds its own checksum, so
// that nobody believes what a power cut has left. A process may be killed at any moment: what it has not finished is
// removed by others. A folder that cannot be written is read; one that goes away gives misses, and errors of Put, until
// it is back.
//
// When a Put would make it exceed its limits, records go that were used least recently. When a record was used is its
// file's time of modification, which Get renews, not at every use. On a file system without locks only this process
// counts.
type Disk struct {
	dir    string
	o      DiskOptions
	me     string // begins the names of what this Disk writes
	serial atomic.Uint64
	groups sync.Map // Key.Group -> its folder
	ledger ledger
	sweeps shared // its lock is held by whoever looks the folder through

	seen    atomic.Pointer[account] // the ledger, not long ago
	seenAt  atomic.Int64            // sinceStart
	nextAge atomic.Int64            // sinceStart, when to look for old records again

	closed   atomic.Bool
	quit     chan struct{}
	sweeping atomic.Bool // in the background
	idle     sync.WaitGroup
	opening  sync.Mutex // no sweep begins once closed is set

	count struct{ hits, misses, stores, damaged, errors, removed atomic.Uint64 }
}

// DiskOptions are limits that every process using the folder should give alike; each keeps to its own.
type DiskOptions struct {
	// Bytes is how much the folder may hold, as Group counts it; 0: no limit. There may be more by the record that each
	// writer, a goroutine in Put, has in hand.
	Bytes int64
	// Age is how long a record may be there unused; 0: for ever. It is removed no later than an eighth of that after, if
	// records are put.
	Age time.Duration
	// Compress makes values of 4 kB and more smaller where that saves an eighth. It costs about 2 ns per byte when written
	// and 1 ns when read (s2). Both kinds are read whatever it says.
	Compress bool
}

const (
	formatFile = "format"
	formatLine = "parallel cache, format "
	format     = 1

	// block is what files are rounded up to: less is not what they take on disk.
	block = 4 << 10
	// orphaned is how old an unfinished record must be before it may be taken for one of a writer that is no more; where
	// files can be locked, it must also not be locked.
	orphaned = 5 * time.Second
)

// OpenDisk returns the store in a folder, which is made if it is not there. It is an error when the folder holds something
// else, or records of a newer version of this package. One that cannot be written can be opened if it is such a store.
func OpenDisk(dir string, o DiskOptions) (*Disk, error) {
	if o.Bytes < 0 || o.Age < 0 {
		return nil, fmt.Errorf("cache: a limit of %d bytes, an age of %v: limits are positive, 0 is none", o.Bytes, o.Age)
	}
	abs, err := filepath.Abs(dir) // the working directory may change
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	if err := prepare(abs); err != nil {
		return nil, err
	}
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails
	d := &Disk{dir: abs, o: o, me: strconv.Itoa(os.Getpid()) + "-" + hex.EncodeToString(random[:]), quit: make(chan struct{})}
	d.ledger.path = filepath.Join(abs, "ledger")
	d.sweeps.path = filepath.Join(abs, "sweep")
	d.seen.Store(&account{})
	d.clearWriting(orphaned)
	if d.o.Age > 0 {
		d.lookForOld()
	}
	return d, nil
}

// prepare makes dir a cache, or finds that it is one.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("cache: no folder for it: %w", err)
	}
	name := filepath.Join(dir, formatFile)
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := refuseForeign(dir); err != nil {
			return err
		}
		temp := name + "-" + strconv.Itoa(os.Getpid()) + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
		if err = os.WriteFile(temp, []byte(formatLine+strconv.Itoa(format)+"\n"), 0o666); err == nil {
			err = os.Rename(temp, name)
		}
		if err != nil {
			os.Remove(temp)
			return fmt.Errorf("cache: the folder cannot be written: %w", err)
		}
		_ = os.WriteFile(filepath.Join(dir, ".gitignore"), []byte("*\n"), 0o666) // a kindness, not needed
		return nil
	}
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	after, ok := strings.CutPrefix(strings.TrimSpace(string(b)), formatLine)
	n, err := strconv.Atoi(after)
	switch {
	case !ok || err != nil:
		return fmt.Errorf("cache: %s is not the file of a cache; give it a folder of its own", name)
	case n > format:
		return fmt.Errorf("cache: %s was written by a newer version of this package (format %d, this is %d); "+
			"use that, or another folder", dir, n, format)
	}
	return nil
}

// refuseForeign returns an error if there is anything in dir that is not a cache's.
func refuseForeign(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	for _, e := range entries {
		switch name := e.Name(); {
		case name == ".gitignore", name == "ledger", name == "sweep", name == "leases", name == "writing", name == "groups",
			strings.HasPrefix(name, formatFile):
		default:
			return fmt.Errorf("cache: %s is not empty and no cache: it holds %s; give a folder of its own", dir, name)
		}
	}
	return nil
}

// Dir returns the folder, absolute.
func (d *Disk) Dir() string { return d.dir }

// folder returns the folder of a group: what can be read of its name, the end first to be kept, and a digest of it.
func (d *Disk) folder(group string) string {
	if f, ok := d.groups.Load(group); ok {
		return f.(string)
	}
	digest := sha256.Sum256([]byte(group))
	readable := strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
			return c
		}
		return '_'
	}, group[max(0, len(group)-64):])
	f := filepath.Join(d.dir, "groups", readable+"-"+hex.EncodeToString(digest[:8]))
	d.groups.Store(group, f)
	return f
}

func (d *Disk) path(k *Key) string {
	var name [65]byte
	hex.Encode(name[1:], k.Sum[:])
	name[0], name[1], name[2] = name[1], name[2], filepath.Separator
	return d.folder(k.Group) + string(filepath.Separator) + string(name[:])
}

// Get reads the record. It costs 4 to 20 µs and the reading; the value's memory is the caller's own.
func (d *Disk) Get(k Key) (Record, bool) {
	if d.closed.Load() {
		return Record{}, false
	}
	path := d.path(&k)
	b, info, err := readFile(path)
	if err != nil {
		d.count.misses.Add(1)
		if !errors.Is(err, fs.ErrNotExist) {
			d.count.errors.Add(1)
		}
		return Record{}, false
	}
	rec, err := unseal(b, k)
	if err != nil {
		d.count.misses.Add(1)
		d.count.damaged.Add(1)
		if now, err := os.Lstat(path); err == nil && os.SameFile(info, now) { // not what came in its place
			os.Remove(path)
		}
		return Record{}, false
	}
	d.count.hits.Add(1)
	if at := time.Now(); at.Sub(info.ModTime()) > d.grain() || info.ModTime().Sub(at) > skew {
		_ = os.Chtimes(path, time.Time{}, at) // a folder that cannot be written is read all the same
	}
	return rec, true
}

// readFile reads a whole file that nobody changes.
func readFile(path string) ([]byte, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, info, nil
	}
	b := make([]byte, info.Size())
	n, err := io.ReadFull(f, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil // it was cut off just now: damaged
	}
	return b[:n], info, err
}

// grain is how old the time of a record's use may be before it is renewed.
func (d *Disk) grain() time.Duration {
	g := markEvery
	if d.o.Age > 0 {
		g = min(g, d.o.Age/8)
	}
	if d.o.Bytes == 0 {
		return g
	}
	if at, last := sinceStart(), d.seenAt.Load(); at-last > int64(finest) && d.seenAt.CompareAndSwap(last, at) {
		a := d.ledger.look()
		d.seen.Store(&a)
	}
	switch a := d.seen.Load(); {
	case a.grain > 0:
		g = min(g, a.grain)
	case a.known: // nothing had to go so far: it may take as long again until something has to, or less
		g = min(g, max(time.Since(time.Unix(0, a.looked))/8, finest))
	}
	return g
}

// finest bounds how often the use of a record is noted.
const finest = 10 * time.Millisecond

// mark notes that a record is used.
func (d *Disk) mark(k Key) {
	if !d.closed.Load() {
		_ = os.Chtimes(d.path(&k), time.Time{}, time.Now()) // it may have gone
	}
}

// Put writes the record. It costs 40 µs on tmpfs and 200 µs on ext4, and the writing; where the folder is full, it waits
// until records were removed. It gives up after 2 s when another process is stopped with the ledger in its hand, and after
// 10 s when one is stopped while it removes records. An error leaves what was there.
func (d *Disk) Put(k Key, rec Record) error {
	err := d.put(k, rec)
	if err != nil {
		d.count.errors.Add(1)
		return fmt.Errorf("cache: %w", err)
	}
	d.count.stores.Add(1)
	return nil
}

func (d *Disk) put(k Key, rec Record) error {
	if d.closed.Load() {
		return os.ErrClosed
	}
	if rec.Stored.IsZero() {
		rec.Stored = now()
	}
	first, payload, err := seal(k, rec, d.o.Compress)
	if err != nil {
		return err
	}
	size := onDisk(int64(len(first) + len(payload)))
	if d.o.Bytes > 0 && size > d.o.Bytes {
		return fmt.Errorf("%w: %d of %d bytes", ErrTooLarge, size, d.o.Bytes)
	}
	f, err := d.create()
	if err != nil {
		return err
	}
	temp := f.Name()
	if len(payload) < 64<<10 {
		_, err = f.Write(append(first, payload...))
	} else if _, err = f.Write(first); err == nil {
		_, err = f.Write(payload)
	}
	if err == nil {
		err = d.publish(f, d.path(&k), size)
	}
	f.Close() // again
	if err != nil {
		os.Remove(temp)
		return err
	}
	if d.o.Age > 0 {
		d.lookForOld()
	}
	return nil
}

func onDisk(size int64) int64 { return (size + block - 1) / block * block }

// create begins a file. It is locked until it is closed, so that others see that it has a writer.
func (d *Disk) create() (*os.File, error) {
	folder := filepath.Join(d.dir, "writing")
	name := filepath.Join(folder, d.me+"-"+strconv.FormatUint(d.serial.Add(1), 36))
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	f, err := os.OpenFile(name, flags, 0o666)
	if errors.Is(err, fs.ErrNotExist) {
		if err := mkdir(folder); err != nil {
			return nil, fmt.Errorf("the folder cannot be written: %w", err)
		}
		f, err = os.OpenFile(name, flags, 0o666)
	}
	if err != nil {
		return nil, err
	}
	_, _ = tryLock(f, beyond) // without one, its age must do
	return f, nil
}

// publish closes f and renames it, when there is room for it.
func (d *Disk) publish(f *os.File, path string, size int64) error {
	for begin := time.Now(); ; {
		a, done, err := d.reserve(f, path, size)
		if err != nil {
			return err
		}
		if done {
			if soon := d.o.Bytes / 16; d.o.Bytes > 0 && a.used+soon > d.o.Bytes {
				d.background(func() error { return d.makeRoom(soon, 0) })
			}
			return nil
		}
		if time.Since(begin) > roomPatience {
			return fmt.Errorf("%s is over its limit of %d bytes, and others fill it faster than it can be cleared", d.dir, d.o.Bytes)
		}
		if err := d.makeRoom(size, roomPatience); err != nil {
			return err
		}
	}
}

// roomPatience is how long a Put waits for room: until others have looked the folder through.
const roomPatience = 10 * time.Second

// reserve counts the record and renames it, if there is room.
func (d *Disk) reserve(f *os.File, path string, size int64) (a account, done bool, err error) {
	a, err = d.ledger.enter()
	if err != nil {
		return a, false, err
	}
	defer d.ledger.unlock()
	if d.o.Bytes > 0 && (!a.known || a.used+size > d.o.Bytes) {
		return a, false, nil
	}
	a.used += size
	if err := d.ledger.write(a); err != nil {
		return a, false, err
	}
	if err := move(f, path); err != nil {
		a.used -= size
		_ = d.ledger.write(a) // else it says too much
		return a, false, err
	}
	d.seen.Store(&a)
	return a, true, nil
}

// move closes f and renames it.
func move(f *os.File, path string) error {
	if err := f.Close(); err != nil {
		return err
	}
	for range 10 {
		err := os.Rename(f.Name(), path)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		// Folders are made when they are needed, and removed by whoever empties them.
		shard := filepath.Dir(path)
		for _, folder := range []string{filepath.Dir(filepath.Dir(shard)), filepath.Dir(shard), shard} {
			if err := mkdir(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return fmt.Errorf("%s goes away whenever it is made", filepath.Dir(path))
}

func mkdir(folder string) error {
	if err := os.Mkdir(folder, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// Delete removes the record.
func (d *Disk) Delete(k Key) error {
	if d.closed.Load() {
		return os.ErrClosed
	}
	if err := os.Remove(d.path(&k)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.count.errors.Add(1)
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}

// Close waits for a sweep in the background. The folder stays.
func (d *Disk) Close() error {
	d.opening.Lock()
	if !d.closed.Swap(true) {
		close(d.quit)
	}
	d.opening.Unlock()
	d.idle.Wait()
	d.ledger.close()
	d.sweeps.close()
	return nil
}

// DiskStats counts since OpenDisk, in this process.
type DiskStats struct {
	Hits, Misses, Stores uint64
	Damaged              uint64 // records found so; they count as misses, too
	Errors               uint64 // of the file system, whether or not a method returned them
	Removed              uint64 // records, because of limits
}

// Stats may be called at any time.
func (d *Disk) Stats() DiskStats {
	c := &d.count
	return DiskStats{c.hits.Load(), c.misses.Load(), c.stores.Load(), c.damaged.Load(), c.errors.Load(), c.removed.Load()}
}
