//go:build unix

package parallel_test

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/gojoblib/parallel"
)

func TestSpawnTerminateEndsTheProcess(t *testing.T) {
	alone(t)
	p := newStage(t).play(t.Context(), t, "deaf")
	require.NoError(t, p.Terminate())
	_, err, code := outcomeOf(t, p)
	crash, ok := errors.AsType[*parallel.CrashError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, "terminated", crash.Signal)
	assert.Equal(t, p.PID(), crash.PID)
	assert.Equal(t, -15, code)
	assert.NotErrorIs(t, err, parallel.ErrNotRun)
}

func TestSpawnTerminatedBeforeItsCallBegins(t *testing.T) {
	alone(t)
	p, err := parallel.Spawn(t.Context(), parallel.Delayed(part, "deaf", ""))
	require.NoError(t, err)
	require.NoError(t, p.Terminate())
	_, err, code := outcomeOf(t, p)
	_, ok := errors.AsType[*parallel.CrashError](err)
	assert.True(t, ok, "%v", err)
	assert.Equal(t, -15, code)
}

func TestSpawnTerminateCaughtByTheTask(t *testing.T) {
	alone(t)
	p := newStage(t).play(t.Context(), t, "catch")
	require.NoError(t, p.Terminate())
	value, err, code := outcomeOf(t, p)
	require.NoError(t, err)
	assert.Equal(t, "caught terminated", value)
	assert.Zero(t, code)
}

func TestSpawnedProcessIsGoneAfterwards(t *testing.T) {
	alone(t)
	p := newStage(t).play(t.Context(), t, "heed", parallel.Timeout(1e8))
	require.NotEqual(t, os.Getpid(), p.PID())
	require.NoError(t, syscall.Kill(p.PID(), 0))
	_, _ = p.Wait(t.Context())
	assert.Equal(t, syscall.ESRCH, syscall.Kill(p.PID(), 0))
}

func TestSpawnSeesAProcessThatAnotherProgramKills(t *testing.T) {
	alone(t)
	p := newStage(t).play(t.Context(), t, "deaf")
	require.NoError(t, syscall.Kill(p.PID(), syscall.SIGKILL))
	_, err, code := outcomeOf(t, p)
	crash, ok := errors.AsType[*parallel.CrashError](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, "killed", crash.Signal)
	assert.Equal(t, -9, code)
}
