package parallel_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// arrows is who may import whom: each package of the module with the ones of ours, and of others', that it may use.
// Tests are free.
var arrows = map[string]string{
	".":                         "backend backend/processes backend/threads internal/child internal/dispatch internal/plan internal/registry internal/replay internal/scope internal/wire internal/worker github.com/samber/lo golang.org/x/term",
	"backend":                   "",
	"backend/backendtest":       "backend internal/dispatch internal/registry internal/wire",
	"backend/processes":         "backend internal/board internal/build internal/child internal/registry internal/wire golang.org/x/sys",
	"backend/processes/sandbox": "internal/child github.com/landlock-lsm/go-landlock golang.org/x/sys",
	"backend/threads":           "backend",
	"cache":                     "internal/registry internal/wire github.com/dgraph-io/ristretto github.com/klauspost/compress golang.org/x/sys",
	"internal/build":            "",
	"memo":                      "cache internal/build internal/registry internal/wire",
	"internal/board":            "",
	"internal/child":            "backend internal/board internal/build internal/registry internal/scope internal/wire internal/worker golang.org/x/sys",
	"internal/dispatch":         "backend internal/plan internal/scope internal/wire github.com/samber/lo",
	"internal/plan":             "",
	"internal/registry":         "backend",
	"internal/replay":           "internal/build internal/registry internal/scope internal/wire",
	"internal/scope":            "backend",
	"internal/testkit":          "backend internal/scope internal/worker go.uber.org/goleak",
	"internal/wire":             "backend internal/registry",
	"internal/worker":           "backend internal/board internal/registry internal/scope internal/wire",
	"examples bench vet":        "", // modules of their own
}

func TestImportsFollowTheArrows(t *testing.T) {
	const module = "github.com/gojoblib/parallel"
	seen := map[string]bool{}
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (slices.Contains([]string{"examples", "bench", "vet", "testdata"}, d.Name()) || strings.HasPrefix(d.Name(), ".") && file != ".") {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		pkg := path.Dir(filepath.ToSlash(file))
		allowed, known := arrows[pkg]
		if !known {
			assert.True(t, known, "package %s has no arrows", pkg)
			return nil
		}
		seen[pkg] = true
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
				continue // the standard library
			}
			ours := strings.TrimPrefix(imported, module+"/")
			assert.True(t, slices.ContainsFunc(strings.Fields(allowed), func(may string) bool {
				return ours == may || strings.Contains(may, ".") && strings.HasPrefix(ours, may+"/")
			}), "%s imports %s", file, imported)
		}
		return nil
	})
	require.NoError(t, err)
	assert.True(t, seen["."] && seen["backend"] && seen["internal/dispatch"], "the walk missed packages: %v", seen)
}

// What README's table has for a name of Python has an Example, which the tests compile and run.
func TestWhatTheTableNamesHasAnExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(readme), "| I have | Python | here |\n|---|---|---|\n")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n\n")

	shown := map[string]bool{}
	files, err := filepath.Glob("*_test.go")
	require.NoError(t, err)
	for _, file := range append(files, "memo/example_test.go", "cache/dump_test.go") {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		for _, d := range parsed.Decls {
			f, isFunc := d.(*ast.FuncDecl)
			if isFunc && f.Recv == nil && strings.HasPrefix(f.Name.Name, "Example") || !isFunc && strings.HasPrefix(file, "example_") {
				ast.Inspect(d, func(n ast.Node) bool {
					if id, ok := n.(*ast.Ident); ok {
						shown[id.Name] = true
					}
					return true
				})
			}
		}
	}
	rows := strings.Split(table, "\n")
	require.Greater(t, len(rows), 30)
	for _, row := range rows {
		here := strings.Split(row, " | ")[2]
		for _, code := range regexp.MustCompile("`[^`]*`").FindAllString(here, -1) {
			for _, name := range regexp.MustCompile(`\b[A-Z]\w+`).FindAllString(strings.NewReplacer("PARALLEL_REPLAY", "", "time.Second", "").Replace(code), -1) {
				assert.True(t, shown[name], "no Example has %s, which is in the row %s", name, row)
			}
		}
	}
}
