//go:build !linux

package sandbox

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestEverythingIsMissing(t *testing.T) {
	missing, err := Apply(Rules{Network: true, Exec: true})
	assert.NoError(t, err)
	assert.NotEmpty(t, missing)
	_, err = Apply(Rules{Strict: true})
	assert.ErrorContains(t, err, "no network")
	_, err = Apply(Rules{Read: []string{"/does/not/exist"}})
	assert.ErrorContains(t, err, "/does/not/exist")
}
