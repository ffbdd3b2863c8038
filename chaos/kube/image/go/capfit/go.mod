module faultline.invalid/capfit

go 1.24.0
