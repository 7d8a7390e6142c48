package vet_test

import (
	"testing"

	"golang.org/x/tools/go/analysis/analysistest"

	"github.com/gojoblib/parallel/vet"
)

func TestMistakesAreReported(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), vet.Analyzer, "declaration", "outcome", "process")
}

func TestSoundCallsAreNot(t *testing.T) {
	analysistest.Run(t, analysistest.TestData(), vet.Analyzer, "sound", "github.com/gojoblib/parallel")
}

func TestOnlyUntypedConstantsAreFixed(t *testing.T) {
	analysistest.RunWithSuggestedFixes(t, analysistest.TestData(), vet.Analyzer, "constant")
}
