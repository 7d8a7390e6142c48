package cache

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// packer returns what compresses a file of that name.
func packer(path string, level int) (func(io.Writer) (io.WriteCloser, error), error) {
	ext := filepath.Ext(path)
	highest := map[string]int{".gz": 9, ".zst": 22, ".s2": 3}[ext]
	if level < 0 || level > highest && highest > 0 {
		return nil, fmt.Errorf("a level of %d; for %s it is 1 to %d", level, ext, highest)
	}
	if level > highest {
		return nil, errors.New("a level, but no compression: let the name end in .zst, .s2 or .gz")
	}
	return func(w io.Writer) (io.WriteCloser, error) {
		switch ext {
		case ".gz":
			if level == 0 {
				level = gzip.DefaultCompression
			}
			return gzip.NewWriterLevel(w, level)
		case ".zst":
			if level == 0 {
				return zstd.NewWriter(w)
			}
			return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)))
		case ".s2":
			return s2.NewWriter(w, [][]s2.WriterOption{nil, nil, {s2.WriterBetterCompression()}, {s2.WriterBestCompression()}}[level]...), nil
		default:
			return asIs{w}, nil
		}
	}, nil
}

type asIs struct{ io.Writer }

func (asIs) Close() error { return nil }

// unpacker finds out by the first bytes how r is compressed.
func unpacker(r *bufio.Reader) (out io.ReadCloser, isPacked bool, err error) {
	first, _ := r.Peek(10)
	is := func(magic string) bool { return len(first) >= len(magic) && string(first[:len(magic)]) == magic }
	switch {
	case is("\x1f\x8b"):
		z, err := gzip.NewReader(r)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = errCutOff
		}
		return z, true, err
	case is("\x28\xb5\x2f\xfd"):
		z, err := zstd.NewReader(r)
		if err != nil {
			return nil, true, err
		}
		return z.IOReadCloser(), true, nil
	case is("\xff\x06\x00\x00S2sTwO"):
		return io.NopCloser(s2.NewReader(r)), true, nil
	default:
		return io.NopCloser(r), false, nil
	}
}
