package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/gojoblib/parallel"
)

func TestMain(m *testing.M) {
	parallel.Main(cube, cubeChecked, power)
	m.Run()
}

func TestEveryFormGivesTheSameCubes(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "... [7645373 7762392 7880599]"); n != 9 {
		t.Errorf("%d of 9 forms give the right cubes:\n%s", n, &out)
	}
	for _, want := range []string{"element 3 failed: -3: negative", "element 5 failed: -5: negative", "200 cubes"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, &out)
		}
	}
}

func TestCancelledRunReturnsItsCause(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	if err := run(ctx, &out); err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("run on a cancelled context: %v", err)
	}
}
