package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// FrameKind says what a frame between a worker process and its near end is.
type FrameKind byte

const (
	Setup  FrameKind = 1 + iota // to the worker, once: what to be; the body is a description
	Run                         // to the worker: a batch
	Cancel                      // to the worker: end the contexts of a batch
	Share                       // to the worker: use so many CPUs
	Bye                         // to the worker: end, when what is in hand is done
	Tidy                        // to the worker: free what memory you can, and say Tidied
	Hello                       // from the worker: it has got to Main
	Ready                       // from the worker: Init has returned, it may be given work; the body says what its sandbox lacks
	Refuse                      // from the worker: it cannot be what it should; the body is an error
	Bell                        // from the worker: look at the board, a batch is over
	News                        // from the worker: a report that does not fit on the board
	Tidied                      // from the worker: it has freed what memory it can
)

// Frame is a message between a worker process and its near end. What a field means depends on the kind.
type Frame struct {
	Kind     FrameKind
	Slot     byte // Run: the batch's; News: the report's kind
	Flag     bool // Run: starts are wanted
	Gen      uint16
	Lo, Hi   int
	Batch    uint64
	Took     int64 // News: nanoseconds; Run: the timeout
	Deadline int64 // Run: nanoseconds since 1970; 0: none
	Body     []byte
	Segments [][]byte
}

// head is a frame's first bytes; lengths of the segments follow, then the body and the segments.
const head = 48

// maxSegments bounds the lengths at the start of a frame.
const maxSegments = 1 << 20

// Write writes a frame to w. buf is used to put small parts together; it is returned to be used again.
func (f *Frame) Write(w io.Writer, buf []byte) ([]byte, error) {
	if len(f.Segments) > maxSegments {
		return buf, fmt.Errorf("%d large slices are more than the %d that can be sent at once", len(f.Segments), maxSegments)
	}
	b := buf[:0]
	b = append(b, byte(f.Kind), f.Slot)
	gen := uint32(f.Gen)
	if f.Flag {
		gen |= 1 << 16
	}
	b = binary.LittleEndian.AppendUint16(b, f.Gen)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(f.Segments))<<1|gen>>16)
	b = binary.LittleEndian.AppendUint32(b, uint32(f.Lo))
	b = binary.LittleEndian.AppendUint32(b, uint32(f.Hi))
	b = binary.LittleEndian.AppendUint64(b, f.Batch)
	b = binary.LittleEndian.AppendUint64(b, uint64(f.Took))
	b = binary.LittleEndian.AppendUint64(b, uint64(f.Deadline))
	b = binary.LittleEndian.AppendUint64(b, uint64(len(f.Body)))
	for _, s := range f.Segments {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(s)))
	}
	if len(f.Body) <= SegmentSize {
		b = append(b, f.Body...)
		if _, err := w.Write(b); err != nil {
			return b, err
		}
	} else {
		if _, err := w.Write(b); err != nil {
			return b, err
		}
		if _, err := w.Write(f.Body); err != nil {
			return b, err
		}
	}
	for _, s := range f.Segments {
		if _, err := w.Write(s); err != nil {
			return b, err
		}
	}
	return b, nil
}

// FrameReader reads frames. A deadline of the connection interrupts it between frames only, and nothing is lost.
type FrameReader struct {
	r    io.Reader
	room func(n int) int // how much to allocate at once for n bytes that were announced
	most uint64          // bytes that a frame may announce; 0: any number
	buf  []byte
	from int // buf[from:to] has been read from r and not handed out
	to   int
}

// inOne is how much is allocated for whoever announces it.
const inOne = 16 << 20

// NewFrameReader returns a reader of r. What is announced is allocated as it comes in, unless trust says that so many
// bytes may be allocated beforehand.
func NewFrameReader(r io.Reader, trust func(n int) bool) *FrameReader {
	return &FrameReader{r: r, buf: make([]byte, SegmentSize+head), room: func(n int) int {
		if n <= inOne || trust(n) {
			return n
		}
		return inOne
	}}
}

// Limit bounds how many bytes a frame may have.
func (r *FrameReader) Limit(most int64) { r.most = uint64(most) }

// tooLarge reports whether so many bytes, beside those before, are more than a frame may have.
func (r *FrameReader) tooLarge(n uint64, sum *uint64) bool {
	*sum += min(n, 1<<41)
	return n > math.MaxInt/2 || n > 1<<40 || r.most > 0 && *sum > r.most
}

// Next returns the next frame. Its Body and Segments are the caller's. os.ErrDeadlineExceeded: none has begun.
func (r *FrameReader) Next() (f Frame, err error) {
	if err := r.fill(head); err != nil {
		return f, err
	}
	h := r.buf[r.from:]
	segs := binary.LittleEndian.Uint32(h[4:])
	f = Frame{
		Kind: FrameKind(h[0]), Slot: h[1], Gen: binary.LittleEndian.Uint16(h[2:]), Flag: segs&1 == 1,
		Lo: int(binary.LittleEndian.Uint32(h[8:])), Hi: int(binary.LittleEndian.Uint32(h[12:])), Batch: binary.LittleEndian.Uint64(h[16:]),
		Took: int64(binary.LittleEndian.Uint64(h[24:])), Deadline: int64(binary.LittleEndian.Uint64(h[32:])),
	}
	body := binary.LittleEndian.Uint64(h[40:])
	var sum uint64
	if f.Kind < Setup || f.Kind > Tidied || segs>>1 > maxSegments || r.tooLarge(body, &sum) {
		return f, fmt.Errorf("a forged frame: kind %d, %d segments, %d bytes", f.Kind, segs>>1, body)
	}
	r.from += head
	var lens []byte
	if segs > 1 {
		if lens, err = r.read(8 * int(segs>>1)); err != nil {
			return f, err
		}
	}
	if body > 0 {
		if f.Body, err = r.read(int(body)); err != nil {
			return f, err
		}
	}
	for ; len(lens) > 0; lens = lens[8:] {
		n := binary.LittleEndian.Uint64(lens)
		if r.tooLarge(n, &sum) {
			return f, fmt.Errorf("a forged frame: a segment of %d bytes", n)
		}
		s, err := r.read(int(n))
		if err != nil {
			return f, err
		}
		f.Segments = append(f.Segments, s)
	}
	return f, nil
}

// fill makes sure that n bytes, fewer than the buffer holds, have been read.
func (r *FrameReader) fill(n int) error {
	if r.to-r.from >= n {
		return nil
	}
	r.to = copy(r.buf, r.buf[r.from:r.to])
	r.from = 0
	for r.to < n {
		m, err := r.r.Read(r.buf[r.to:])
		r.to += m
		if err != nil && r.to < n {
			return err
		}
	}
	return nil
}

// read returns the next n bytes, in memory of their own that begins where any value may.
func (r *FrameReader) read(n int) ([]byte, error) {
	b := words(min(n, r.room(n)))
	have := copy(b, r.buf[r.from:r.to])
	r.from += have
	for {
		for have < len(b) {
			m, err := r.r.Read(b[have:])
			have += m
			if err != nil && have < len(b) && !errors.Is(err, os.ErrDeadlineExceeded) {
				return nil, err
			}
			if m == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
				if d, ok := r.r.(interface{ Postpone() error }); ok {
					if err := d.Postpone(); err != nil {
						return nil, err
					}
				}
			}
		}
		if len(b) == n {
			return b, nil
		}
		more := words(min(n, max(2*len(b), r.room(n)))) // what has come in vouches for as much again
		copy(more, b)
		b = more
	}
}

// words returns n bytes that begin where any value may.
func words(n int) []byte {
	if n >= 16 {
		return make([]byte, n)
	}
	return columnOf(make([]uint64, 2))[:n]
}
