//go:build !unix && !windows

package child

import (
	"errors"
	"os"
)

// EnvValue is the value of Env that this process gives its workers, which are none.
func EnvValue() string { return "" }

func inherit(string) (conn, life *os.File, mem []byte, err error) {
	return nil, nil, nil, errors.New("this system has no worker processes")
}

func abandoned() { os.Exit(1) }

func watchParent(*os.File) {}

func limitMemory(int64) error { return nil }
