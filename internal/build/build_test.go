package build

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const source = `package main

const k = 1

func main() { println(k) }
`

// compiled builds a program and returns the path of its executable, and the ID that the go tool reads.
func compiled(t *testing.T, source string, flags ...string) (path, id string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600))
	path = filepath.Join(dir, "program")
	out, err := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), filepath.Join(dir, "main.go"))...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command("go", "tool", "buildid", path).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path, strings.TrimSpace(string(out))
}

func TestBuildsAreToldApart(t *testing.T) {
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("there is no go tool here")
	}
	ids := map[string]string{}
	for name, flags := range map[string][]string{"plain": nil, "stripped": {"-ldflags=-s -w"}, "no ID": {"-ldflags=-buildid="}, "another ID": {"-ldflags=-buildid=redacted"}} {
		path, want := compiled(t, source, flags...)
		id, err := buildID(path)
		require.NoError(t, err)
		if strings.Contains(want, "/") {
			require.Equal(t, digest([]byte(want[strings.LastIndexByte(want, '/')+1:])), id, name)
		}
		path, _ = compiled(t, strings.Replace(source, "k = 1", "k = 2", 1), flags...)
		other, err := buildID(path)
		require.NoError(t, err)
		require.NotEqual(t, id, other, name)
		ids[id] = name
	}
	require.Len(t, ids, 4)
	require.Equal(t, ID(), ID())
	require.NotContains(t, ID(), "unknown")
}

func TestAMissingExecutableIsAnError(t *testing.T) {
	_, err := buildID(filepath.Join(t.TempDir(), "gone"))
	require.Error(t, err)
}
