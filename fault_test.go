package parallel_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	. "github.com/gojoblib/parallel"
	"github.com/gojoblib/parallel/internal/testkit"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOneTasksMisfortuneIsOneTasks goes through every fault, on its own among tasks that succeed, wherever they run.
func TestOneTasksMisfortuneIsOneTasks(t *testing.T) {
	const tasks, timeout = 9, 50 * time.Millisecond
	faults := []struct {
		how  fate
		text string // of its error; # is the task's number
	}{
		{errs, "deed #: boom"},
		{panics, "panic: deed #"},
		{exits, "the task called runtime.Goexit (t.FailNow and t.Skip do) instead of returning"},
		{late, "timed out after 50ms"},
		{deaf, "timed out after 50ms"},
		{crashes, "its worker ended with connection lost; it may have run in part"},
	}
	places := []struct {
		name string
		make func() place
	}{
		{"threads", func() place { return place{} }},
		{"remote", func() place { return place{&testkit.Remote{}} }},
		{"redelivered", func() place { return place{&testkit.Remote{Seed: 7, Redeliver: .9, Reorder: .5}} }},
	}
	for _, fault := range faults {
		for _, where := range places {
			if fault.how == crashes && where.name == "threads" {
				continue // what ends a goroutine's worker ends the program
			}
			for _, at := range []int{0, tasks / 2, tasks - 1} {
				for _, keepGoing := range []bool{true, false} {
					t.Run(fmt.Sprintf("%v/%s/task %d/keepGoing=%t", fault.how, where.name, at, keepGoing), func(t *testing.T) {
						testkit.Clean(t)
						l := newLedger(tasks)
						deeds := l.deeds(tasks)
						deeds[at].How, deeds[at].Fails = fault.how, 1
						calls := Each(do, deeds)
						calls[at] = calls[at].Named("the deed")
						opts := []Option{where.make().option()}
						if keepGoing {
							opts = append(opts, KeepGoing())
						}
						if fault.how == late || fault.how == deaf {
							opts = append(opts, Timeout(timeout))
						}
						var got []any
						var err error
						_ = bubble(t, l, func() error {
							got, err = Parallel(2, opts...)(calls...)
							return nil
						})

						require.IsType(t, (*RunError)(nil), err)
						failures := Failures(err)
						require.Len(t, failures, 1)
						f := failures[0]
						assert.Equal(t, at, f.Index)
						assert.Equal(t, "the deed", f.Name)
						assert.Equal(t, 1, f.Attempts)
						assert.True(t, fault.how.is(f.Err, at), "%T: %v", f.Err, f.Err)

						notRun := 0
						for i, v := range got {
							switch {
							case i == at || l.started[i].Load() == 0:
								assert.Nil(t, v, "task %d", i)
								if i != at {
									notRun++
								}
							default:
								assert.Equal(t, square(i), v, "task %d", i)
							}
						}
						if keepGoing {
							assert.Zero(t, notRun)
						}
						text := fmt.Sprintf("parallel: task %d (the deed(%s)): %s", at, f.Args, strings.ReplaceAll(fault.text, "#", strconv.Itoa(at)))
						switch {
						case notRun == 1:
							text += "; 1 task was not run"
						case notRun > 1:
							text += fmt.Sprintf("; %d tasks were not run", notRun)
						}
						assert.EqualError(t, err, text)
						if notRun > 0 {
							assert.ErrorIs(t, err, ErrNotRun)
						} else {
							assert.NotErrorIs(t, err, ErrNotRun)
						}
					})
				}
			}
		}
	}
}
