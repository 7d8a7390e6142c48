package testkit_test

import (
	"testing"
	"time"

	"github.com/gojoblib/parallel/backend/backendtest"
	"github.com/gojoblib/parallel/internal/testkit"
)

func TestMain(m *testing.M) { testkit.Main(m) }

func TestRemotesKeepTheContract(t *testing.T) {
	for name, r := range map[string]*testkit.Remote{
		"good":   {},
		"unruly": {Seed: 2, Delay: 20 * time.Microsecond, Reorder: .5, Redeliver: .3},
		"narrow": {Seed: 3, Room: 1, Reorder: .3, Redeliver: .2},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Clean(t)
			backendtest.Exercise(t, r)
			if n := r.Open(); n != 0 {
				t.Errorf("%d workers are open", n)
			}
		})
	}
}
