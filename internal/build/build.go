// Package build tells which build of the program this is, and where its executable lies.
package build

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
)

// Executable returns what to execute for another copy of this very program: on Linux the program itself, even when its
// file was deleted or replaced.
func Executable() (string, error) {
	if runtime.GOOS == "linux" {
		if _, err := os.Stat("/proc/self/exe"); err == nil {
			return "/proc/self/exe", nil
		}
	}
	return os.Executable()
}

// ID identifies this build of the program: two that differ in their code have different ones.
var ID = sync.OnceValue(func() string {
	path, err := Executable()
	if err == nil {
		var id string
		if id, err = buildID(path); err == nil {
			return id
		}
	}
	return fmt.Sprintf("unknown: %v", err)
})

// buildID returns the ID that the linker has put near the start of an executable, or else a digest of all of it.
func buildID(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	start := make([]byte, 64<<10)
	n, err := io.ReadFull(f, start)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	start = start[:n]
	if id := note(start); len(id) > 0 {
		return digest(id), nil
	}
	const before, after = "\xff Go build ID: \"", "\"\n \xff"
	if _, id, ok := bytes.Cut(start, []byte(before)); ok {
		if id, _, ok = bytes.Cut(id, []byte(after)); ok && len(content(id)) > 0 {
			return digest(content(id)), nil
		}
	}
	h := sha256.New()
	h.Write(start)
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}

// content is the last part of an ID, a digest of what was linked; nil: somebody has told the linker another ID.
func content(id []byte) []byte {
	if at := bytes.LastIndexByte(id, '/'); at >= 0 {
		return id[at+1:]
	}
	return nil
}

// note returns the content part of the ID in the note that ELF files begin with, whoever has linked them.
func note(start []byte) []byte {
	typeAndName := []byte("\x04\x00\x00\x00Go\x00\x00") // its sizes are before it
	at := bytes.Index(start, typeAndName)
	if at < 8 {
		return nil
	}
	id := start[at+len(typeAndName):]
	if n := binary.NativeEndian.Uint32(start[at-4:]); uint64(n) < uint64(len(id)) {
		return content(id[:n])
	}
	return nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}
