package dispatch_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gojoblib/parallel/backend/threads"
	"github.com/gojoblib/parallel/internal/dispatch"
)

func TestACallStoppedBeforeItsStartDoesNotTimeOutAfterTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		over, late := false, 0
		err := dispatch.Do(dispatch.Spec{
			Context: ctx, Backend: threads.Backend{}, N: 1, Timeout: time.Second,
			Listen: func(dispatch.Event) {
				if over {
					late++
				}
				cancel()
				synctest.Wait() // the run is stopped
			},
		}, make(work, 3), 3)
		over = true
		if err == nil || err.NotRun != 3 || len(err.Failed) > 0 {
			t.Fatalf("the error is %v, want 3 calls not run", err)
		}
		time.Sleep(time.Minute)
		if late > 0 || len(err.Failed) > 0 {
			t.Errorf("%d events came after the end, and the error is now %v", late, err)
		}
	})
}
