package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"unicode"

	"github.com/klippa-app/go-pdfium"
	"github.com/klippa-app/go-pdfium/references"
	"github.com/klippa-app/go-pdfium/requests"
	"github.com/klippa-app/go-pdfium/webassembly"
	"github.com/tetratelabs/wazero"

	"github.com/gojoblib/parallel"
)

// extract returns the text of a PDF, with a form feed after every page as pdftotext does.
//
// It is a top-level function of plain values, so that it can run in a worker process as well as on a goroutine. And it
// only returns: a file that it wrote would be missing when its result comes from the cache.
func extract(ctx context.Context, d document) (string, error) {
	inst, err := instance.Get(ctx)
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(d.path)
	if err != nil {
		return "", err
	}
	if d.sum != "" && d.sum != fmt.Sprintf("%x", sha256.Sum256(data)) {
		return "", errors.New("it has changed since the run began") // its text would be kept for what it was
	}
	doc, err := inst.OpenDocument(&requests.OpenDocument{File: &data})
	if err != nil {
		return "", fmt.Errorf("PDFium says %w", err)
	}
	defer inst.FPDF_CloseDocument(&requests.FPDF_CloseDocument{Document: doc.Document})
	count, err := inst.FPDF_GetPageCount(&requests.FPDF_GetPageCount{Document: doc.Document})
	if err != nil {
		return "", err
	}

	var text strings.Builder
	for i := range count.PageCount {
		// A goroutine cannot be killed, a process need not be: between two pages is where this task ends when its time is up.
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		page, err := pageText(inst, doc.Document, i)
		if err != nil {
			return "", fmt.Errorf("page %d: PDFium says %w", i+1, err)
		}
		text.WriteString(page)
		text.WriteByte('\f')
	}
	return text.String(), nil
}

// pageText returns the text of page i. GetPageText would be one call instead of four, but it takes twice the time and
// loses the characters beyond U+FFFF.
func pageText(inst pdfium.Pdfium, doc references.FPDF_DOCUMENT, i int) (string, error) {
	page, err := inst.FPDFText_LoadPage(&requests.FPDFText_LoadPage{
		Page: requests.Page{ByIndex: &requests.PageByIndex{Document: doc, Index: i}},
	})
	if err != nil {
		return "", err
	}
	defer inst.FPDFText_ClosePage(&requests.FPDFText_ClosePage{TextPage: page.TextPage})
	chars, err := inst.FPDFText_CountChars(&requests.FPDFText_CountChars{TextPage: page.TextPage})
	if err != nil || chars.Count == 0 {
		return "", err
	}
	text, err := inst.FPDFText_GetText(&requests.FPDFText_GetText{TextPage: page.TextPage, Count: chars.Count})
	if err != nil {
		return "", err
	}
	return strings.Map(plain, text.Text), nil
}

// plain leaves out what is no text: the \r of line ends, stray codes of symbols (a form feed among them would look like
// the end of a page), and U+FFFE, which stands where PDFium joined a word that was hyphenated at the end of a line.
func plain(r rune) rune {
	if r == '\ufffe' || unicode.IsControl(r) && r != '\n' && r != '\t' {
		return -1
	}
	return r
}

// prepare is what a worker process does first, while it may still read the copy of the compiled PDFium, and while no
// PDF's time is running.
func prepare(ctx context.Context) error {
	_, err := instance.Get(ctx)
	return err
}

// instance is one PDFium for each worker, opened at its first use there and closed with the worker. An instance does one
// thing at a time, so more workers than instances would wait for each other.
var instance = parallel.PerWorker(func() (pdfium.Pdfium, error) {
	pool, err := engine()
	if err != nil {
		return nil, err
	}
	return pool.GetInstanceWithContext(context.Background())
}, pdfium.Pdfium.Close)

// engine compiles PDFium, which comes as WebAssembly, for this machine: once per process, for all instances. That takes
// seconds; with the copy that the first run leaves in the user's cache directory, a tenth of one. Processes may share
// the copy, as it is written beside its place and renamed. One that is missing, damaged or not writable costs time only.
var engine = sync.OnceValues(func() (pdfium.Pool, error) {
	config := webassembly.Config{
		MaxTotal: -1,                   // the run's n is the limit
		FSConfig: wazero.NewFSConfig(), // PDFium is handed bytes and sees no file
	}
	cache, err := diskCache()
	if err == nil {
		config.RuntimeConfig = wazero.NewRuntimeConfig().WithCompilationCache(cache)
		var pool pdfium.Pool
		if pool, err = webassembly.Init(config); err == nil {
			return pool, nil
		}
	}
	fmt.Fprintln(os.Stderr, "pdftext: compiling PDFium without a cache:", err)
	config.RuntimeConfig = nil
	return webassembly.Init(config)
})

func diskCache() (wazero.CompilationCache, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	return wazero.NewCompilationCacheWithDir(filepath.Join(dir, "gojoblib-parallel", "pdfium"))
}
