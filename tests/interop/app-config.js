// How OHIF is set up for osteon; copy it over the viewer's app-config.js, with your server's address.
const dicomweb = 'http://127.0.0.1:8080/dicom-web';

// OHIF 3.13 fails on measurement groups without coordinates, and a classifier's have none: it looks at whole images. Such a report is
// shown as text instead.
const reportsAsText = {
  id: 'osteon-reports-as-text',
  preRegistration({ servicesManager }) {
    const { displaySetService } = servicesManager.services;
    displaySetService.subscribe(displaySetService.EVENTS.DISPLAY_SETS_ADDED, ({ displaySetsAdded }) => {
      for (const displaySet of displaySetsAdded) {
        if (displaySet.Modality === 'SR' && !JSON.stringify(displaySet.instance.ContentSequence).includes('"SCOORD')) {
          displaySet.isImagingMeasurementReport = false;
        }
      }
    });
  },
};

window.config = {
  routerBasename: null,
  extensions: [reportsAsText],
  modes: [],
  customizationService: {},
  showStudyList: true,
  maxNumberOfWebWorkers: 2,
  showLoadingIndicator: true,
  showWarningMessageForCrossOrigin: false,
  showCPUFallbackMessage: false,
  showErrorDetails: 'always',
  maxNumRequests: { interaction: 10, thumbnail: 5, prefetch: 5 },
  investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'osteon',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'osteon',
      configuration: {
        friendlyName: 'osteon',
        name: 'osteon',
        qidoRoot: dicomweb,
        wadoRoot: dicomweb,
        wadoUriRoot: dicomweb,
        qidoSupportsIncludeField: true,
        imageRendering: 'wadors',
        thumbnailRendering: 'thumbnail',
        thumbnailRequestStrategy: 'fetch',
        enableStudyLazyLoad: true,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        omitQuotationForMultipartRequest: true,
        bulkDataURI: { enabled: true },
      },
    },
  ],
};
