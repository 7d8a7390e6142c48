module github.com/gojoblib/parallel/examples

go 1.26

replace github.com/gojoblib/parallel => ../

require (
	github.com/gojoblib/parallel v0.0.0-00010101000000-000000000000
	github.com/klippa-app/go-pdfium v1.19.7
	github.com/tetratelabs/wazero v1.12.0
)

require (
	github.com/google/uuid v1.6.0 // indirect
	github.com/jolestar/go-commons-pool/v2 v2.1.2 // indirect
	github.com/samber/lo v1.53.0 // indirect
	golang.org/x/net v0.57.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
	golang.org/x/text v0.40.0 // indirect
)
