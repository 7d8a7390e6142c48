package cache

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"time"
)

// TryLease is Lease that does not wait: false means that somebody else has the key.
func (d *Disk) TryLease(k Key) (release func(), ok bool, err error) {
	if d.closed.Load() {
		return nil, false, os.ErrClosed
	}
	f, err := d.leaseFile(&k)
	if err != nil {
		return nil, false, fmt.Errorf("cache: %w", err)
	}
	if ok, err = tryLock(f, place(&k)); !ok {
		f.Close()
		if err != nil {
			err = fmt.Errorf("cache: %w", err)
		}
		return nil, false, err
	}
	return sync.OnceFunc(func() { freeLease(f) }), true, nil
}

// Lease makes the caller the only one, among all goroutines of all processes that use the folder, who computes what
// belongs under k, until it calls release or its process ends, by whatever death. Whoever gets a lease should look for
// the record before computing: another may have had the lease until now.
//
// Keys do not get into one another's way: whoever has some may wait for others, as long as keys are not computed from
// themselves. Waiting ends with ctx; a lease is noticed to be free within a sixteenth of the time that was waited, at
// most 50 ms. An error means that there is no lease, as in a folder that cannot be written or locked; computing without one
// does no more harm than being done twice.
func (d *Disk) Lease(ctx context.Context, k Key) (release func(), err error) {
	begin := time.Now()
	var timer *time.Timer
	for {
		release, ok, err := d.TryLease(k)
		if ok || err != nil {
			return release, err
		}
		pause := min(max(time.Since(begin)/16, 100*time.Microsecond), 50*time.Millisecond)
		if timer == nil {
			timer = time.NewTimer(pause)
			defer timer.Stop()
		} else {
			timer.Reset(pause)
		}
		select {
		case <-timer.C:
		case <-d.quit:
			return nil, os.ErrClosed
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// place is the byte that stands for a key.
func place(k *Key) int64 {
	digest := sha256.Sum256(append(k.Sum[:], k.Group...))
	return int64(binary.LittleEndian.Uint64(digest[:]) >> 2)
}
