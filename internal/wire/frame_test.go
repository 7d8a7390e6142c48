package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"runtime/metrics"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// pieces hands a stream out as sizes say, over and over: 0 is a deadline that passes meanwhile.
type pieces struct {
	from      []byte
	sizes     []byte
	at        int
	postponed int
	refuses   error // Postpone's answer
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.from) == 0 {
		return 0, io.EOF
	}
	size := 1 << 16
	if len(p.sizes) > 0 {
		size = int(p.sizes[p.at%len(p.sizes)])
		p.at++
		if size == 0 && p.at > len(p.sizes) {
			size = 1 // the second time around it passes no more
		}
	}
	if size == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	n := copy(b[:min(size, len(b))], p.from)
	p.from = p.from[n:]
	return n, nil
}

func (p *pieces) Postpone() error {
	p.postponed++
	return p.refuses
}

func never(int) bool { return false }

// next returns the next frame, whatever deadlines pass.
func next(r *FrameReader) (f Frame, err error) {
	for {
		if f, err = r.Next(); !errors.Is(err, os.ErrDeadlineExceeded) {
			return f, err
		}
	}
}

func drawnFrame(t *rapid.T) Frame {
	f := Frame{
		Kind: FrameKind(rapid.ByteRange(byte(Setup), byte(Tidied)).Draw(t, "kind")), Slot: rapid.Byte().Draw(t, "slot"), Flag: rapid.Bool().Draw(t, "flag"),
		Gen: rapid.Uint16().Draw(t, "gen"), Lo: int(rapid.Uint32().Draw(t, "lo")), Hi: int(rapid.Uint32().Draw(t, "hi")),
		Batch: rapid.Uint64().Draw(t, "batch"), Took: rapid.Int64().Draw(t, "took"), Deadline: rapid.Int64().Draw(t, "deadline"),
	}
	size := rapid.SampledFrom([]int{0, 0, 1, 7, 8, 15, 16, 100, SegmentSize - 1, SegmentSize, SegmentSize + 1, 100_000})
	part := func() []byte {
		b := make([]byte, size.Draw(t, "size"))
		for i := range b {
			b[i] = byte(i + len(b))
		}
		return b
	}
	f.Body = part()
	for range rapid.IntRange(0, 3).Draw(t, "segments") {
		f.Segments = append(f.Segments, part())
	}
	return f
}

func requireFrame(t require.TestingT, want, got Frame) {
	require.Len(t, got.Segments, len(want.Segments))
	for i, s := range want.Segments {
		require.True(t, bytes.Equal(s, got.Segments[i]), "segment %d", i)
		require.True(t, aligned(got.Segments[i]), "segment %d lies where no slice may", i)
	}
	require.True(t, bytes.Equal(want.Body, got.Body), "the body")
	require.True(t, len(got.Body) == 0 || aligned(got.Body))
	want.Body, want.Segments, got.Body, got.Segments = nil, nil, nil, nil
	require.Equal(t, want, got)
}

func TestFramesCrossInAnyPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var stream bytes.Buffer
		var buf []byte
		var err error
		frames := make([]Frame, rapid.IntRange(0, 5).Draw(t, "frames"))
		for i := range frames {
			frames[i] = drawnFrame(t)
			buf, err = frames[i].Write(&stream, buf)
			require.NoError(t, err)
		}
		whole := stream.Len()
		source := &pieces{from: stream.Bytes(), sizes: rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "pieces")}
		trust := rapid.Bool().Draw(t, "trust")
		r := NewFrameReader(source, func(int) bool { return trust })
		var got []Frame
		for range frames {
			f, err := next(r)
			require.NoError(t, err)
			got = append(got, f)
		}
		for i, want := range frames { // at the end: no frame lies in what is used again
			requireFrame(t, want, got[i])
		}
		_, err = next(r)
		require.Equal(t, io.EOF, err)

		if whole > 0 {
			cut := rapid.IntRange(0, whole-1).Draw(t, "cut")
			r := NewFrameReader(&pieces{from: stream.Bytes()[:cut], sizes: source.sizes}, never)
			n := 0
			for ; err == nil || n == 0; n++ {
				if _, err = next(r); err != nil {
					break
				}
			}
			require.Equal(t, io.EOF, err)
			require.Less(t, n, len(frames), "a stream cut at %d of %d is whole", cut, whole)
		}
	})
}

// TestFramesCrossAPipe has both ends at work at once.
func TestFramesCrossAPipe(t *testing.T) {
	from, to, err := os.Pipe()
	require.NoError(t, err)
	defer from.Close()
	sizes := []int{0, 1, 47, 48, 49, SegmentSize - head, SegmentSize, SegmentSize + 1, 3 << 20, inOne + 1}
	go func() {
		defer to.Close()
		var buf []byte
		for i, n := range sizes {
			f := Frame{Kind: News, Lo: i, Body: bytes.Repeat([]byte{byte(i)}, n), Segments: [][]byte{bytes.Repeat([]byte{byte(i + 1)}, n), {}}}
			buf, _ = f.Write(to, buf) // an error is the reader's, too
		}
	}()
	r := NewFrameReader(from, never)
	for i, n := range sizes {
		f, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, i, f.Lo)
		require.True(t, bytes.Equal(bytes.Repeat([]byte{byte(i)}, n), f.Body))
		require.Len(t, f.Segments, 2)
		require.True(t, bytes.Equal(bytes.Repeat([]byte{byte(i + 1)}, n), f.Segments[0]))
		require.Empty(t, f.Segments[1])
	}
	_, err = r.Next()
	require.Equal(t, io.EOF, err)
}

// TestADeadlineInterruptsBetweenFramesOnly lets one pass after every byte.
func TestADeadlineInterruptsBetweenFramesOnly(t *testing.T) {
	want := Frame{Kind: Run, Body: []byte("the body"), Segments: [][]byte{[]byte("one segment"), []byte("another")}}
	var stream bytes.Buffer
	_, err := want.Write(&stream, nil)
	require.NoError(t, err)
	whole := stream.Len()
	sizes := slices.Repeat([]byte{0, 1}, whole)
	source := &pieces{from: stream.Bytes(), sizes: sizes}
	r := NewFrameReader(source, never)
	interrupted := 0
	f, err := r.Next()
	for ; errors.Is(err, os.ErrDeadlineExceeded); f, err = r.Next() {
		interrupted++
	}
	require.NoError(t, err)
	requireFrame(t, want, f)
	require.Equal(t, head, interrupted, "a frame has begun when its head is there")
	require.Equal(t, whole-head, source.postponed)

	closed := errors.New("closed")
	source = &pieces{from: bytesOf(t, want), sizes: []byte{head, 0, 1}, refuses: closed}
	_, err = NewFrameReader(source, never).Next()
	require.Equal(t, closed, err)
}

func bytesOf(t require.TestingT, f Frame) []byte {
	var stream bytes.Buffer
	_, err := f.Write(&stream, nil)
	require.NoError(t, err)
	return stream.Bytes()
}

// forgedHead is a head that announces so much.
func forgedHead(kind FrameKind, segments uint32, body uint64, lens ...uint64) []byte {
	b := make([]byte, head)
	b[0] = byte(kind)
	binary.LittleEndian.PutUint32(b[4:], segments<<1)
	binary.LittleEndian.PutUint64(b[40:], body)
	for _, n := range lens {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	return b
}

func TestForgedFramesAreErrors(t *testing.T) {
	for name, b := range map[string][]byte{
		"kind 0":                forgedHead(0, 0, 0),
		"kind after the last":   forgedHead(Tidied+1, 0, 0),
		"kind 255":              forgedHead(255, 0, 0),
		"too many segments":     forgedHead(Run, maxSegments+1, 0),
		"all segments":          forgedHead(Run, 1<<31-1, 0),
		"too large a body":      forgedHead(Run, 0, 1<<40+1),
		"the largest body":      forgedHead(Run, 0, math.MaxUint64),
		"too large a segment":   forgedHead(Run, 1, 0, 1<<40+1),
		"the largest segment":   forgedHead(Run, 2, 0, 0, math.MaxUint64),
		"a body above MaxInt64": forgedHead(Run, 0, 1<<63),
	} {
		t.Run(name, func(t *testing.T) {
			r := NewFrameReader(bytes.NewReader(append(b, make([]byte, 100)...)), func(int) bool { return true })
			_, err := r.Next()
			require.ErrorContains(t, err, "a forged frame")
		})
	}
	_, err := (&Frame{Kind: Run, Segments: make([][]byte, maxSegments+1)}).Write(io.Discard, nil)
	require.ErrorContains(t, err, "large slices are more than")
}

// TestWhatIsAnnouncedIsNotBelieved: where trust says no, memory grows with what has come in.
func TestWhatIsAnnouncedIsNotBelieved(t *testing.T) {
	for name, stream := range map[string][]byte{
		"a body":                    forgedHead(News, 0, 1<<40),
		"a segment":                 forgedHead(News, 1, 0, 1<<40),
		"a segment and a body":      forgedHead(News, 1, 1<<39, 1<<39),
		"a segment behind another":  append(forgedHead(News, 2, 0, 8, 1<<40), "12345678"...),
		"as many segments as may":   forgedHead(News, maxSegments, 0),
		"a body that begins":        append(forgedHead(News, 0, 1<<40), make([]byte, 1<<20)...),
		"a body of more than grows": append(forgedHead(News, 0, 1<<40), make([]byte, inOne+1)...),
	} {
		t.Run(name, func(t *testing.T) {
			r := NewFrameReader(bytes.NewReader(stream), never)
			before := allocated()
			_, err := r.Next()
			require.Equal(t, io.EOF, err)
			require.Less(t, allocated()-before, uint64(inOne+4*len(stream)+4<<20))
		})
	}
	asked := 0
	r := NewFrameReader(bytes.NewReader(append(forgedHead(News, 0, inOne+1), make([]byte, inOne+1)...)), func(n int) bool { asked = n; return true })
	f, err := r.Next()
	require.NoError(t, err)
	require.Len(t, f.Body, inOne+1)
	require.Equal(t, inOne+1, asked)
}

// allocated is how much this process has allocated so far.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// brittle fails at its n-th Write.
type brittle struct{ n int }

var errBrittle = errors.New("brittle")

func (b *brittle) Write(p []byte) (int, error) {
	if b.n--; b.n < 0 {
		return 0, errBrittle
	}
	return len(p), nil
}

func TestWritingAFrameFailsWithItsWriter(t *testing.T) {
	f := Frame{Kind: News, Body: make([]byte, SegmentSize+1), Segments: [][]byte{{1}, {2}}}
	for n := range 4 {
		_, err := f.Write(&brittle{n}, nil)
		require.Equal(t, errBrittle, err)
	}
	_, err := f.Write(&brittle{4}, nil)
	require.NoError(t, err)
	_, err = (&Frame{Kind: Bell}).Write(&brittle{0}, nil)
	require.Equal(t, errBrittle, err)
}
