package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/gojoblib/parallel/memo"
)

// document is a PDF as the workers know it: they are sent its path, and read it themselves.
type document struct {
	path string
	sum  string // digest of its content; empty without -cache
}

var _ memo.Keyer = document{}

// MemoKey makes texts be found by the content alone: a PDF that was renamed, copied or touched has the text that it had,
// and one that was changed has not, even if its size and its time of modification are the same.
func (d document) MemoKey() (any, error) { return d.sum, nil }

// fingerprint returns the digest of a PDF's content. Of what cannot be read it is the path, which no content has: nothing
// will be kept, and extract says what is wrong.
func fingerprint(_ context.Context, p pdf) (string, error) {
	sum, err := digest(p.path)
	if err != nil {
		sum = p.path
	}
	return sum, nil
}

func digest(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() >= 4<<30 {
		return "", errors.New("a pipe may never end, and so much does not fit into PDFium's memory")
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), err
}

// remember opens the memory of what extract returns; texts tells what is there. Both are nil without -cache, and when its
// folder is of no use: the program says so and goes on without.
func (o *options) remember() (m *memo.Memory, texts *memo.Cached[document, string]) {
	if o.cache == "" {
		return nil, nil
	}
	m, err := memo.New(memo.Options{Dir: o.cache, Compress: true, RAM: 1 << 20}) // little RAM: a run asks once for each text
	v := memo.Version(version())
	if err == nil {
		err = m.Declare(extract, v)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "pdftext: nothing is kept for the next run:", err)
		o.cache = ""
		return nil, nil
	}
	return m, memo.Func(m, extract, v)
}

// version is what a text depends on besides its PDF. By default that is the whole program, so that each build of it reads
// everything again. Here it is less: PDFium, for which the module's version stands, and extract, for which the 1 does.
// Whoever makes extract return another text makes it 2. Where the version is not known, it is the whole program again.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if dep.Path == "github.com/klippa-app/go-pdfium" && dep.Replace == nil {
				return "1, go-pdfium " + dep.Version
			}
		}
	}
	return ""
}
