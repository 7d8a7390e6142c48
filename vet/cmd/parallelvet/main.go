// Command parallelvet checks the use of package parallel. It runs under go vet, never alone:
//
//	go vet -vettool=$(which parallelvet) ./...
//	go vet -vettool=$(which parallelvet) -fix ./...
package main

import (
	"golang.org/x/tools/go/analysis/unitchecker"

	"github.com/gojoblib/parallel/vet"
)

func main() { unitchecker.Main(vet.Analyzer) }
