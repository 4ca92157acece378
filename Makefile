.PHONY: run test test-services lint sanitize wheel matrix clean

run:            ## the demo at http://127.0.0.1:8080/
	@ci/run.sh

test:           ## everything that needs no service and no root
	@ci/test.sh

test-services:  ## conformance, interop, browser, sanitizers; installs what is missing
	@ci/services.sh

lint:           ## style, types, stubs, C warnings
	@ci/lint.sh

sanitize:       ## the tests under AddressSanitizer and UndefinedBehaviorSanitizer
	@ci/sanitize.sh

wheel:          ## sdist, wheel, repair, smoke test elsewhere
	@ci/wheel.sh

matrix:         ## the tests on every other Python at hand
	@ci/matrix.sh

clean:          ## removes what builds and tests have left
	@ci/clean.sh
