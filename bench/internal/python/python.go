// Package python finds a Python for the contenders that are written in it, with joblib and numpy, which it installs.
package python

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Requirements are what pip installs. numpy is for arrays.
var Requirements = []string{"joblib==1.6.0", "numpy==2.4.6"}

// Python is an interpreter with a script, and what else it has.
type Python struct {
	Path   string
	Script string // where the script is
	Extras bool   // Requirements are there
}

// Find returns the interpreter to use, nil if there is none, and what has to be said about it: without is what is left out
// where pip cannot install the Requirements. The script goes into dir.
func Find(ctx context.Context, dir string, script []byte, without string) (*Python, []string) {
	path, err := exec.LookPath("python3")
	if err != nil {
		return nil, []string{fmt.Sprintf("There is no python3 here (%v): its columns are left out.", err)}
	}
	p := &Python{Path: path, Script: filepath.Join(dir, "peers.py")}
	if err := os.WriteFile(p.Script, script, 0o600); err != nil {
		return nil, []string{fmt.Sprintf("The Python columns are left out: %v.", err)}
	}
	venv, err := environment(ctx, path)
	if err != nil {
		return p, []string{fmt.Sprintf("pip could not install %s: %s left out (%v).", strings.Join(Requirements, " and "), without, err)}
	}
	p.Path, p.Extras = venv, true
	return p, nil
}

// environment returns the interpreter of a virtual environment with the Requirements. It is made once for each
// interpreter and each set of Requirements, and stays in the user's cache directory.
func environment(ctx context.Context, python string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	version, err := output(ctx, python, "-VV")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte(python + version + strings.Join(Requirements, " ")))
	dir := filepath.Join(cache, "gojoblib-parallel-bench", fmt.Sprintf("venv-%x", sum[:6]))
	inside := filepath.Join(dir, "bin", "python")
	if runtime.GOOS == "windows" {
		inside = filepath.Join(dir, "Scripts", "python.exe")
	}
	complete := filepath.Join(dir, "complete") // written last
	if _, err := os.Stat(complete); err == nil {
		return inside, nil
	}
	log.Printf("installing %s into %s", strings.Join(Requirements, " and "), dir)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if _, err := output(ctx, python, "-m", "venv", dir); err != nil {
		return "", err
	}
	pip := []string{"-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:", "--no-input"}
	if _, err := output(ctx, inside, append(pip, Requirements...)...); err != nil {
		return "", err
	}
	return inside, os.WriteFile(complete, nil, 0o600)
}

// output returns what a command prints; when it fails, the last line of that is in the error.
func output(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, lines[len(lines)-1])
	}
	return string(out), nil
}

// Versions tells what p is, for the notes.
func (p *Python) Versions(ctx context.Context) (string, error) {
	out, err := output(ctx, p.Path, p.Script, "versions")
	return strings.TrimSpace(out), err
}
