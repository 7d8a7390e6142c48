// Package cache keeps encoded values under keys: in RAM, in a folder, or in RAM in front of a folder. It never decides
// what a key is, and a record that it returns is the one that was put.
//
// [Dump] and [Load] write one value to a file of its own and read it back.
package cache

import (
	"errors"
	"fmt"
	"time"
)

// Key is what a record is kept under. Two keys are the same when both fields are.
type Key struct {
	// Group is what the record is counted under and found with, such as the name of a function. On disk it is a folder;
	// it may hold any bytes, at most 65,535 of them.
	Group string
	// Sum is a digest of all that the record depends on.
	Sum [32]byte
}

// Record is what is kept under a key.
type Record struct {
	Value  []byte        // encoded; neither the store nor its callers write to it
	Object any           // the value itself, kept in RAM only, for callers that share it
	Size   int64         // bytes that Object takes in RAM, beside Value
	Stored time.Time     // to the nanosecond; the time of Put, where it is zero
	Took   time.Duration // what computing it took
}

// Store keeps records. Its methods may be called concurrently.
type Store interface {
	// Get returns the record. There is none also where it is damaged or cannot be read; damaged ones are removed.
	Get(Key) (Record, bool)
	// Put keeps the record in place of the key's last one. When it returns, Get finds it, on any goroutine and, where the
	// store is a folder, in any process, until it has to make room for others.
	Put(Key, Record) error
	// Delete forgets the record; there may be none.
	Delete(Key) error
	// Close waits for what the store does in the background and releases what it holds. Afterwards Get finds nothing and
	// Put and Delete are os.ErrClosed. Again: nil.
	Close() error
}

// ErrTooLarge is inside the error of a Put whose record alone is larger than the folder may be.
var ErrTooLarge = errors.New("the record is larger than the limit of the cache")

// Limits are bounds that a cache is cut down to. Zero: no bound.
type Limits struct {
	Bytes int64         // as Group counts them
	Items int           // records
	Age   time.Duration // since the record was last used
}

func (l Limits) check() error {
	if l.Bytes < 0 || l.Items < 0 || l.Age < 0 {
		return fmt.Errorf("cache: limits are positive, 0 is none: %+v", l)
	}
	return nil
}
