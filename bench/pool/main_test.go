package main

import (
	"strings"
	"testing"
)

func TestReportHasAFigureForAll(t *testing.T) {
	var out strings.Builder
	if err := report(&out, 2, 2*inFlight); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(out.String(), "\n"); lines != len(rows)+2 {
		t.Errorf("%d lines:\n%s", lines, &out)
	}
}
